// The smoother: keys in a plane, a query among them, and two ways to weigh the keys.
//
// The lookup compares by dot product, the smoother by distance, and the squares of school tie them together:
//   q·k/h²  =  -|q-k|²/2h²  +  |q|²/2h²  +  |k|²/2h²
// |q|² is the same for all keys and cancels in the softmax. |k|² cancels if all keys have one length.
//
// A factor s that multiplies the query and divides the keys cancels in q·k, but not in the distances: so the
// weights by softmax do not depend on it, and those by the kernel do, unless they have the key weights.

"use strict";

{
  const EDGE = 2.4;         // how far to each side a point may go
  const SIDE = 300, CENTER = SIDE / 2, UNIT = 57;  // pixels: the plane, and a unit in it
  const NORM = Math.SQRT2;  // the length of all keys when they have to have one
  const SHORTEST = 0.1;     // a key of length 0 has no direction
  const NARROWEST = 0.1, WIDEST = 10;
  const SMALLEST = 10 ** -0.3, LARGEST = 10 ** 0.5;  // the factor s, whose slider has 1 among its steps
  const MOST = 8;
  const VALUES = [0, 6, 3, 5, 1, 4, 2, 6];
  const PLACES = [[1, 0], [0, 1], [1, 1], [-1.2, 0.9], [-1.4, -0.6], [0.2, -1.7], [1.5, -1.3], [-0.3, 2]];
  const START = { keys: PLACES.slice(0, 3), q: [2, 0], h: 1, s: 1, equal: false, weighted: false };  // chapter 04's

  const STEPS = { ArrowRight: [0.1, 0], ArrowLeft: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };

  const { make, svg } = Live;
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1];
  const length = (a) => Math.hypot(...a);
  const stretched = (a, to) => a.map((x) => x * to / length(a));
  const inside = (x) => Math.min(Math.max(x, -EDGE), EDGE);

  // --- the mathematics -----------------------------------------------------------------------------------

  const logWeight = (key, h) => dot(key, key) / (2 * h * h);
  const lookupWeights = (q, keys, h) => Live.softmax(keys.map((key) => dot(q, key) / (h * h)));
  function smootherWeights(q, keys, h, weighted) {
    const apart = keys.map((key) => length([q[0] - key[0], q[1] - key[1]]));
    return Live.softmax(keys.map((key, j) => -((apart[j] / h) ** 2) / 2 + (weighted ? logWeight(key, h) : 0)));
  }
  const mean = (weights) => weights.reduce((sum, weight, j) => sum + weight * VALUES[j], 0);
  // How much of the weight would have to be carried to other keys to make one of the other.
  const moved = (a, b) => a.reduce((sum, weight, j) => sum + Math.abs(weight - b[j]), 0) / 2;

  // --- the address ---------------------------------------------------------------------------------------

  const places = (text) => text.split(";").map((pair) => pair.split(",").map(Number));
  const isPlace = (a) => a.length === 2 && a.every((x) => Math.abs(x) <= EDGE);
  const isKey = (a) => isPlace(a) && length(a) >= SHORTEST / 2;  // written with three decimals, it may be less

  function fromAddress({ keys, q, h, s, norms, weights }) {
    const now = { ...START, equal: norms === "equal", weighted: weights === "yes" };
    if (keys !== undefined) now.keys = places(keys);
    if (q !== undefined) [now.q] = places(q);
    if (h !== undefined) now.h = Number(h);
    if (s !== undefined) now.s = Number(s);
    const sound = now.keys.every(isKey) && now.keys.length <= MOST && isPlace(now.q)
      && now.h >= NARROWEST && now.h <= WIDEST && now.s >= 0.5 && now.s <= 3.2;
    return sound ? now : null;
  }

  function toAddress({ keys, q, h, s, equal, weighted }) {
    const text = (a) => a.map((x) => +x.toFixed(3)).join(",");
    return {
      keys: keys.map(text).join(";"), q: text(q), h: +h.toPrecision(6), s: s === 1 ? null : +s.toPrecision(6),
      norms: equal ? "equal" : null, weights: weighted ? "yes" : null,
    };
  }

  // --- the page ------------------------------------------------------------------------------------------

  const times = (a, factor) => a.map((x) => x * factor);
  const zoom = (s) => Math.max(s, 1 / s);  // so far the plane goes back, and every point stays in it
  const halfDisc = (r, side) => `M 0 ${-r} A ${r} ${r} 0 0 ${side} 0 ${r} Z`;  // the left half is side 0
  const exponent = (x) => x < 10 ? x.toFixed(2) : x.toPrecision(3);
  const VIEWS = ["lookup", "smoother"];
  const bar = (view, weight) =>
    make("div", { class: `live-bar live-of-${view}`, style: `--share: ${weight}` }, weight.toFixed(3));

  const named = (view, text) => make("span", { class: `live-named live-of-${view}` }, text);

  Live.widget("smoother", (stage, options, state) => {
    let now = START;
    let equality = 0;  // 0: the keys have their own lengths, 1: all have NORM; in between they are on the way
    let points = [];   // what can be dragged: the keys, and the query as the last
    let frame;

    // Where a key is: always on its own ray. The query is multiplied by s, the keys are divided by it.
    const placed = (key) => stretched(key, length(key) ** (1 - equality) * NORM ** equality / now.s);
    const unit = () => UNIT / zoom(now.s);
    const pixel = ([x, y]) => [CENTER + x * unit(), CENTER - y * unit()];

    // - the parts -

    const rings = ["h", "2h"].map((name) =>
      svg("g", { class: "live-ring" }, svg("circle"), svg("text", {}, name)));
    const circle = svg("circle", { class: "live-circle", cx: CENTER, cy: CENTER });
    const rays = svg("path", { class: "live-ray" });
    const handles = svg("g");
    const axes = svg("path", { class: "live-axis", d: `M 0 ${CENTER} h ${SIDE} M ${CENTER} 0 v ${SIDE}` });
    const plane = svg("svg", { class: "live-plane", viewBox: `0 0 ${SIDE} ${SIDE}`, role: "group",
      "aria-label": "The plane of the keys and the query" }, axes, circle, ...rings, rays, handles);

    const rows = make("tbody"), answers = make("td"), difference = make("strong");
    const heading = (...parts) => make("th", { scope: "col" }, ...parts);
    const table = make("table", { class: "live-table" },
      make("thead", {}, make("tr", {}, heading("key"), heading("value"), heading("key weight"), heading(
        named("lookup", "softmax"), named("smoother", "kernel")))),
      rows,
      make("tfoot", {}, make("tr", {}, make("th", { scope: "row", colspan: 3 }, "answer"), answers)));

    const width = Live.slider("bandwidth h", { min: NARROWEST, max: WIDEST, log: true, value: 1,
      text: (h) => h.toFixed(2) }, (h) => change({ h }));
    const equal = Live.check("equal key norms", false, (equal) => { change({ equal }); glide(); });
    const weighted = Live.check("the kernel has the key weights", false, (weighted) => change({ weighted }));
    const factor = Live.slider("s", { min: SMALLEST, max: LARGEST, log: true, value: 1,
      text: (s) => `q × ${s.toFixed(2)}, k ÷ ${s.toFixed(2)}` }, (s) => change({ s }));
    const button = (label, onclick) => make("button", { class: "live-button", onclick }, label);
    const add = button("Add a key", () => change({ keys: [...now.keys, PLACES[now.keys.length]] }));
    const remove = button("Take one out", () => change({ keys: now.keys.slice(0, -1) }));
    const restart = button("Start again", () => { change(START); glide(); });

    // - moving a point: the keys are 0, 1, ..., and the query comes after them -

    const isQuery = (j) => j === now.keys.length;

    function move(j, to) {
      to = to.map(inside);
      if (isQuery(j)) { change({ q: to }); return; }
      if (!length(to)) return;  // the origin has no direction
      const norm = now.equal ? length(now.keys[j]) : Math.max(length(to), SHORTEST);
      change({ keys: now.keys.with(j, stretched(to, Math.min(norm, EDGE))) });
    }

    function press(event, j) {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const [x, y] = isQuery(j) ? now.q : times(placed(now.keys[j]), now.s);
      const turn = Math.sign(step[1] - step[0]) * Math.PI / 36, cos = Math.cos(turn), sin = Math.sin(turn);
      const onCircle = now.equal && !isQuery(j);  // where one can only go around
      move(j, onCircle ? [x * cos - y * sin, x * sin + y * cos] : [x + step[0], y + step[1]]);
    }

    function drag(event, j) {
      const toPlane = plane.getScreenCTM().inverse();  // from pixels of the window to those of the plane
      const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(toPlane);
      const to = times([x - CENTER, CENTER - y], 1 / unit());
      move(j, times(to, isQuery(j) ? 1 / now.s : now.s));
    }

    function point(j, label, ...drawn) {
      const handle = svg("g", { class: "live-point", tabindex: 0, role: "slider", "aria-label": label,
        "aria-valuemin": -EDGE, "aria-valuemax": EDGE,
        onkeydown: (event) => press(event, j),
        ontouchstart: (event) => event.preventDefault(),  // a finger on a point does not move the page
        onpointerdown: (event) => handle.setPointerCapture(event.pointerId),
        onpointermove: (event) => { if (handle.hasPointerCapture(event.pointerId)) drag(event, j); },
      }, svg("circle", { class: "live-grip", r: 21 }), ...drawn);
      return handle;
    }

    function rebuild() {
      const keys = now.keys.map((_, j) => point(j, `key ${j + 1}`,
        svg("path", { class: "live-of-lookup" }), svg("path", { class: "live-of-smoother" }),
        svg("circle", { class: "live-dot", r: 3 }),
        svg("text", { class: "live-name" }, "k", svg("tspan", { class: "live-index", dy: 4 }, j + 1))));
      points = [...keys, point(keys.length, "query",
        svg("path", { class: "live-dot", d: "M 0 -7 L 7 0 L 0 7 L -7 0 Z" }),
        svg("text", { class: "live-name", x: 14, y: -8 }, "q"))];
      handles.replaceChildren(...points);
    }

    // - drawing -

    function draw() {
      const keys = now.keys.map(placed), q = times(now.q, now.s), { h } = now;
      const weights = [lookupWeights(q, keys, h), smootherWeights(q, keys, h, now.weighted)];
      [...keys, q].forEach((at, j) => {
        const [x, y] = at.map((c) => c.toFixed(2));
        Live.set(points[j], { transform: `translate(${pixel(at)})`, "aria-valuenow": x,
          "aria-valuetext": `x ${x}, y ${y}` });
      });
      keys.forEach((key, j) => {
        // The area is the weight. Discs shrink with the keys' distances, or they would hide one another.
        const radii = weights.map((row) => 34 * Math.sqrt(row[j]) / Math.max(now.s, 1));
        points[j].querySelectorAll("path").forEach((path, i) => Live.set(path, { d: halfDisc(radii[i], i) }));
        const away = Math.max(...radii) + 8, [, y] = pixel(key);
        const above = key[1] > 0 ? y > away + 14 : y > SIDE - away - 16;  // of the axis, but not of the plane
        Live.set(points[j].lastChild, { y: above ? -away : away + 10 });
      });
      const [cx, cy] = pixel(q);
      rings.forEach((ring, i) => {
        const r = unit() * (i + 1) * h;
        Live.set(ring.firstChild, { cx, cy, r });
        Live.set(ring.lastChild, { x: cx, y: cy + r + 12 });
      });
      Live.set(rays, { d: keys.map((key) => `M ${pixel([0, 0])} L ${pixel(key)}`).join(" ") });
      Live.set(circle, { opacity: equality, r: unit() * NORM / now.s });

      rows.replaceChildren(...keys.map((key, j) => make("tr", {},
        make("th", { scope: "row" }, "k", make("sub", {}, j + 1)), make("td", {}, VALUES[j]),
        make("td", {}, "e", make("sup", {}, exponent(logWeight(key, h)))),
        make("td", {}, ...VIEWS.map((view, i) => bar(view, weights[i][j]))))));
      answers.replaceChildren(...VIEWS.map((view, i) => named(view, mean(weights[i]).toFixed(3))));
      difference.textContent = moved(...weights).toFixed(3);
    }

    // - what happens -

    function explain() {
      if (now.weighted) return "With the key weights exp(|k|²/2h²) the two coincide, for every s.";
      if (now.equal) return "All keys have one length: their weights are equal and cancel, so the two coincide, for every s.";
      return "Softmax does not depend on s. The kernel without key weights does: as s grows, it comes to agree.";
    }

    function show() {
      if (points.length !== now.keys.length + 1) rebuild();
      width.set(now.h);
      equal.set(now.equal);
      weighted.set(now.weighted);
      factor.set(now.s);
      Live.set(add, { disabled: now.keys.length === MOST });
      Live.set(remove, { disabled: now.keys.length === 1 });
      draw();
      Live.say(stage, explain());
    }

    function change(changes) {
      now = { ...now, ...changes };
      show();
      state.set(toAddress(now));
    }

    // The keys run to the lengths that they shall have, and the weights with them.
    function glide() {
      cancelAnimationFrame(frame);
      const from = equality, to = now.equal ? 1 : 0, began = performance.now();
      function step(time) {
        const share = Live.still() ? 1 : Math.min(Math.max(time - began, 0) / 400, 1);
        equality = from + share * (to - from);
        draw();
        if (share < 1) frame = requestAnimationFrame(step);
      }
      step(began);
    }

    function follow(values) {
      const read = fromAddress(values);
      now = read ?? START;
      equality = now.equal ? 1 : 0;
      show();
      if (!read) Live.say(stage, "The address holds what cannot be; this is the start instead.");
    }

    stage.append(
      make("div", { class: "live-controls" }, equal, weighted, width, factor),
      make("div", { class: "live-beside" }, plane,
        make("div", {}, table, make("p", { class: "live-difference" }, difference,
          " of the weight differs"))),
      make("div", { class: "live-controls" }, add, remove, restart));
    follow(state.get());
    state.watch(follow);
  });
}
