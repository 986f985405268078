// Taleteller: the reader begins a story, the model goes on, and its heads show what they look at.
//
// gpt.js is the model's engine, taleteller.js holds its weights; both are loaded when the page has nothing else
// to do, or, for a reader who saves data, when they are first needed.
// All that is shown follows from one text: its tokens, every head's weights on them, and what may come next.

"use strict";

{
  const BETWEEN = "\n\n";  // stories stood so in the training text: a text here begins after such a gap
  const TOP_K = [1, 2, 5, 10, 20, 50, 100, Infinity];
  const PACE = 40;         // ms for a token: a little faster than one can read aloud
  const LONGEST = 500;     // tokens that one press of the button can bring
  const FEWEST = 8;  // tokens that a picture of a head has room for; of more it shows those that are there

  const { make, svg } = Live;
  const settled = (text) => text.replace(/ +$/, "");  // a space at the end waits: a word's token brings its own
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const button = (label, onclick) => make("button", { class: "live-button", type: "button", onclick }, label);

  // 0.0123, 12.3 or 1.2·10⁻⁷: three digits, or a power where they would be lost.
  function digits(x) {
    if (x === 0 || (x >= 0.001 && x < 10000)) return x.toFixed(x >= 100 ? 0 : x >= 10 ? 1 : 3);
    const [front, power] = x.toExponential(1).split("e");
    const raised = (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)];
    return `${front}·10${[...power.replace("+", "")].map(raised).join("")}`;
  }

  function fromAddress({ layer, head, query, temperature, topk, compare }) {
    const whole = (x, low, other) => (/^\d{1,6}$/.test(x) ? Math.max(low, x) : other);
    return {
      layer: whole(layer, 1, 1), head: whole(head, 1, 1),
      query: whole(query, 0, null),  // null: the last token, whichever it is
      temperature: temperature >= 0 && temperature <= 2 ? Number(temperature) : 0.8,
      topK: TOP_K.includes(Number(topk)) ? Number(topk) : Infinity,
      compare: compare === "yes",
    };
  }

  // --- pictures ---------------------------------------------------------------------------------------------

  // The kernel over the distance from the query, and each key: a ring on the kernel, a dot at its weight.
  function kernelPlot({ weights, distances, gaussians }, h, width) {
    const larger = weights.map((weight, j) => Math.max(weight, gaussians[j])), highest = Math.max(...larger);
    const shown = [...weights.keys()].sort((a, b) => larger[b] - larger[a]).slice(0, 40);
    const far = Math.max(...shown.map((j) => distances[j])) + h / 4, bottom = 130, height = 160;
    const atZero = distances.map((r, j) => Math.log(gaussians[j]) + r * r / 2 / h / h).find(Number.isFinite);
    const kernel = (r) => Math.exp(atZero - r * r / 2 / h / h);
    // The picture begins where the kernel is as high as the highest weight.
    const near = Math.sqrt(Math.max(0, 2 * h * h * (atZero - Math.log(highest))));
    const x = (r) => 6 + (r - near) / (far - near) * (width - 12);
    const y = (weight) => bottom - weight / highest * (bottom - 8);
    const curve = Array.from({ length: 101 }, (_, i) => near + i / 100 * (far - near));
    const label = (r, anchor, text) => svg("text", { x: x(r), y: height - 12, "text-anchor": anchor }, text);
    const words = `The Gaussian falls from distance ${near.toFixed(1)} to ${far.toFixed(1)}; stems lead to the weights.`;
    const size = { class: "live-speak-kernel", viewBox: `0 0 ${width} ${height}` };
    return svg("svg", { ...size, role: "img", "aria-label": words },
      svg("path", { class: "live-axis", d: `M 0 ${bottom} H ${width}` }),
      svg("path", { class: "live-speak-curve",
        d: `M ${curve.map((r) => `${x(r)} ${y(kernel(r))}`).join(" L ")}` }),
      ...shown.flatMap((j) => [
        svg("path", { class: "live-speak-stem",
          d: `M ${x(distances[j])} ${y(gaussians[j])} V ${y(weights[j])}` }),
        svg("circle", { class: "live-speak-ring", cx: x(distances[j]), cy: y(gaussians[j]), r: 3 }),
        svg("circle", { class: "live-speak-dot", cx: x(distances[j]), cy: y(weights[j]), r: 3.5 })]),
      label(near, "start", near.toFixed(1)), label((near + far) / 2, "middle", "distance |q−k|"),
      label(far, "end", far.toFixed(1)));
  }

  // --- the widget -------------------------------------------------------------------------------------------

  Live.widget("speak", (stage, options, state) => {
    const whole = options.show !== "story";  // else without the heads
    const place = stage.closest(".live").id;
    let now;                     // what the address tells, but for the text
    let GPT, model, memory;      // once they are loaded
    let ids = [], of = null;     // the tokens of the text `of`
    let start = 0;               // the first token in sight
    let counted = 0, fresh = 0;  // tokens computed until now, and for the last change
    let turn = null;             // what is being written, or was written last: { before, over }
    let spans = [], painted = [], canvases = [], colors = null;

    // - the parts -

    const text = make("textarea", { class: "live-field live-speak-text", rows: whole ? 3 : 1, spellcheck: "false",
      oninput: typed, placeholder: "Once there was a …", "aria-label": "Your text, which the model continues" });
    const go = button("Go on", () => (turn?.over === false ? stop() : write(text.value)));
    go.classList.add("live-first");
    const again = button("Another way", () => write(turn.before));
    const heat = Live.slider("temperature", { min: 0, max: 2, step: 0.05, value: 0, text: (t) => t.toFixed(2) },
      (temperature) => change({ temperature }));
    const cut = Live.slider("top-k", { min: 0, max: TOP_K.length - 1, step: 1, value: 0,
      text: (i) => (TOP_K[i] < Infinity ? TOP_K[i] : "all") }, (i) => change({ topK: TOP_K[i] }));
    const past = make("p", { class: "live-speak-past" }), caption = make("p", { class: "live-speak-caption" });
    const strip = make("div", { class: "live-speak-strip", role: "listbox", tabindex: 0,
      "aria-label": "The tokens; the chosen one is the query", "aria-orientation": "horizontal",
      onkeydown: pressToken, onpointerover: hover, onpointerleave: hover, onclick: pickToken });
    const heads = make("div", { class: "live-speak-heads", role: "listbox", tabindex: 0,
      "aria-label": "The heads, a column for each layer", onkeydown: pressHead, onclick: pickHead });
    const next = make("div", { class: "live-speak-next" });
    const compare = button("Compare the two views", () => change({ compare: !now.compare }));
    const views = make("div", { class: "live-speak-views" });
    const section = (title, ...parts) =>
      make("div", {}, make("p", { class: "live-speak-title" }, title), ...parts);
    const inside = make("div", { class: "live-speak-inside", hidden: true },
      ...(whole ? [section("What the model sees; a click makes a token the query", past, strip, caption)] : []),
      make("div", { class: "live-beside" },
        ...(whole ? [section("All heads, a column for each layer", heads)] : []),
        section("What may come next; a click takes it", next)),
      ...(whole ? [compare, views] : []));
    // Where there are no heads, the model's words come before what one may set.
    const sliders = make("div", { class: "live-controls" }, heat, cut);
    stage.append(text, make("div", { class: "live-controls" }, go, again), ...(whole ? [sliders, inside] : [inside, sliders]));

    // - the model -

    const asking = Live.asking(stage, "Go on", (engine, loaded) => {
      [GPT, model, memory] = [engine, loaded, loaded.remember()];
      buildHeads();
      inside.hidden = false;
    });

    // The tokens of the text.
    function tokens() {
      if (of !== text.value) ids = model.encode(BETWEEN + settled(text.value));
      of = text.value;
      return ids;
    }

    // Reads what is new in the text, and shows what follows from it.
    async function update() {
      if (!await asking.wake()) return;
      now.layer = Math.min(now.layer, model.config.n_layer);
      now.head = Math.min(now.head, model.config.n_head);
      const all = tokens(), first = GPT.visibleFrom(all.length, model.config.block_size);
      if (all.length - first - memory.ids.length > 50) Live.say(stage, "Reading …");
      if (!await model.read(memory, all.slice(first))) return;  // the text has changed meanwhile
      [start, fresh, counted] = [first, memory.work - counted, memory.work];
      draw();
      Live.say(stage, turn?.over === false ? "Writing …" : remark());
    }

    function remark() {
      const n = memory.ids.length, said = [];
      if (!text.value.trim()) said.push("Nothing is written yet: the model would begin a story of its own.");
      if (start) said.push(`The model sees the last ${n} of ${ids.length} tokens; its context has room for ` +
        `${model.config.block_size}.`);
      if (memory.ids.some((id) => id >= 128 && id < 256))
        said.push("Some characters are not in the vocabulary: it reads their bytes, which it hardly knows.");
      if (text.value.trim() && text.value.endsWith(" "))
        said.push("The space at the end waits for its word: tokens carry their space in front.");
      return [turn?.why, ...said].filter(Boolean).join(" ");
    }

    // - writing -

    function stop(why = "Stopped.") {
      if (turn?.over !== false) return;
      Object.assign(turn, { over: true, why });
      go.textContent = "Go on";
      again.disabled = false;
      share();
    }

    // A token of the model's goes to the end of the text; `utf8` holds back what is no whole character yet.
    function take(id, utf8 = new TextDecoder()) {
      ids = [...tokens(), id];
      const end = settled(text.value).length;
      text.setRangeText(utf8.decode(model.decodeBytes([id]), { stream: true }), end, text.value.length, "end");
      text.scrollTop = text.scrollHeight;
      of = text.value;
    }

    const chances = () => GPT.probabilities(model.logits(memory), now.temperature, now.topK);

    async function write(from) {
      const mine = turn = { before: from, over: false }, utf8 = new TextDecoder();
      asking.retry();
      text.value = from;
      go.textContent = "Stop";
      again.disabled = true;
      await update();
      for (let n = 0; model && !mine.over; n++) {
        if (n === LONGEST) stop(`${LONGEST} tokens are enough for once.`);
        else if (n && text.value.endsWith(BETWEEN)) stop("The end.");
        else {
          const pause = new Promise((resume) => setTimeout(resume, PACE));
          take(GPT.draw(chances()), utf8);
          await Promise.all([update(), pause]);
        }
      }
      if (!model) stop(); else if (turn === mine) Live.say(stage, remark());
    }

    // The reader takes over.
    function interrupt() {
      stop();
      turn = null;
      again.disabled = true;
    }

    function typed() {
      interrupt();
      share();
      update();
    }

    // - drawing -

    const query = () => clamp((now.query ?? Infinity) - start, 0, memory.ids.length - 1);  // its place in sight
    const same = (a, b) => { let n = 0; while (n < a.length && a[n] === b[n]) n++; return n; };

    function draw() {
      drawNext();
      if (!whole) return;
      colors ??= Live.palette();
      drawTokens();
      drawHeads();
      drawQuery(query());
    }

    function drawTokens() {
      const kept = same(memory.ids, spans.map((span) => Number(span.dataset.id)));
      for (const span of spans.splice(kept)) span.remove();
      for (const id of memory.ids.slice(kept)) {
        const j = spans.length, signs = GPT.visible(model.decodeBytes([id]));
        const readable = signs.replace(/␣/g, " ").replace(/⏎/g, j < 2 && !start ? "⏎" : "⏎\n");
        spans.push(make("span", { role: "option", id: `${place}-token-${j}`, "data-id": id,
          "aria-label": signs }, readable));
      }
      strip.append(...spans.slice(kept));
      past.textContent = start ? `… ${model.decode(ids.slice(0, start)).slice(-240)}` : "";
    }

    // Of each head's weights only the rows of new tokens are drawn; the picture shows a corner of the canvas.
    function drawHeads() {
      const T = model.config.block_size, n = memory.ids.length, from = same(memory.ids, painted);
      const side = clamp(n, FEWEST, T), rows = Math.max(n, painted.length) - from;
      canvases.forEach((canvas, i) => {
        canvas.style.width = `${100 * T / side}%`;
        canvas.style.imageRendering = side <= 64 ? "pixelated" : "auto";
        if (!rows) return;
        const weights = memory.weights.flat()[i], image = new ImageData(T, rows);
        const pixels = new Uint32Array(image.data.buffer);
        for (let t = from; t < n; t++)
          for (let j = 0; j <= t; j++)
            pixels[(t - from) * T + j] = colors.pixels[colors.level(weights[t * T + j])];
        canvas.getContext("2d").putImageData(image, 0, from);
      });
      painted = [...memory.ids];
    }

    // The weights of the query at place t, on the tokens themselves.
    function drawQuery(t) {
      const T = model.config.block_size, { layer, head } = now;
      const row = memory.weights[layer - 1][head - 1].subarray(t * T, t * T + t + 1);
      const best = row.indexOf(Math.max(...row));
      spans.forEach((span, j) => {
        const shade = j <= t ? colors.level(row[j]) : -1;
        span.style.background = colors.paper[shade] ?? "";
        span.style.color = colors.ink[shade] ?? "";
        span.ariaSelected = j === t;
      });
      strip.setAttribute("aria-activedescendant", spans[t].id);
      const chosen = (layer - 1) * model.config.n_head + head - 1;
      canvases.forEach((canvas, i) => { canvas.parentNode.ariaSelected = i === chosen; });
      heads.setAttribute("aria-activedescendant", canvases[chosen].parentNode.id);
      const quoted = (j) => `“${spans[j].ariaLabel}”`;
      caption.textContent = `Layer ${layer}, head ${head}: the query ${quoted(t)} gives most weight, ` +
        `${row[best].toFixed(2)}, to ${quoted(best)}. ` +
        `${ids.length} tokens, ${fresh} of them computed just now.`;
      compare.ariaExpanded = now.compare;
      views.hidden = !now.compare;
      if (now.compare) drawViews(t, quoted);
    }

    function drawViews(t, quoted) {
      const { n_head, d_model } = model.config, d = d_model / n_head, h = d ** 0.25;
      const view = model.views(memory, now.layer - 1, now.head - 1, t), { weights, products } = view;
      const top = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 6);
      const apart = Math.max(...products.map((product, j) => Math.abs(product - weights[j])));
      const power = (base, exponent) => [base, make("sup", {}, exponent)];
      // Each key between its two bars: the lookup's, by its score, and the smoother's, by its distance and count.
      const cell = (view, weight, ...numbers) => make("td", { class: `live-of-${view}` },
        make("div", { class: "live-speak-bar", style: `--share: ${weight / weights[top[0]]}` },
          make("span", {}, weight.toFixed(3))),
        make("div", { class: "live-speak-numbers" }, ...numbers));
      const number = (name, value) => make("span", { "data-number": name }, value);
      const row = (j) => make("tr", {},
        cell("lookup", weights[j], "score ", number("score", view.scores[j].toFixed(2))),
        make("th", { scope: "row" }, spans[j].ariaLabel, make("sub", {}, start + j + 1)),
        cell("smoother", products[j], number("gaussian", digits(view.gaussians[j])), " × ",
          number("count", digits(view.counts[j])), " at ", number("distance", view.distances[j].toFixed(2))));
      const heading = (view, title, ...sentence) => make("th", { scope: "col", class: `live-of-${view}` },
        make("strong", {}, title), make("span", {}, ...sentence));
      views.replaceChildren(
        make("table", { class: "live-table live-speak-pairs" },
          make("thead", {}, make("tr", {},
            heading("lookup", "As a lookup", `What does ${quoted(t)} find? Weights by scores q·k/√d.`),
            make("th", { scope: "col" }, "key"),
            heading("smoother", "As a smoother", "What lies near it? A Gaussian of h = ", ...power("d", "1/4"),
              ` = ${h.toFixed(2)}, times how often each key counts.`))),
          make("tbody", {}, ...top.map(row))),
        make("div", { class: "live-speak-same" },
          kernelPlot(view, h, clamp(stage.clientWidth, 280, 760)),
          make("p", {}, "Rings lie on the Gaussian, ", ...power("e", "−|q−k|²/2√d"), " over its sum; dots are the ",
            "weights, and the stem between them is the count, ", ...power("e", "|k|²/2√d"), " over its mean under ",
            "the Gaussian. The lookup's weights and the smoother's products differ nowhere by more than ",
            make("strong", {}, digits(apart)), ".")));
    }

    function drawNext() {
      const p = chances(), likely = [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, 7);
      const order = likely.filter((id) => p[id] > 0), percents = (p) => (p < 0.0005 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`);
      const rest = 1 - order.reduce((sum, id) => sum + p[id], 0);
      const focused = [...next.children].indexOf(document.activeElement);
      const bar = (id) => {
        const name = GPT.visible(model.decodeBytes([id])), percent = percents(p[id]);
        const onclick = () => { interrupt(); take(id); share(); update(); };
        return make("button", { type: "button", style: `--share: ${p[id]}`, "aria-label": `${name}, ${percent}`,
          onclick }, make("span", {}, name), make("span", {}, percent));
      };
      const others = order.length < 7 ? "no other" : `all others: ${percents(rest)}`;
      next.replaceChildren(...order.map(bar), make("p", {}, others));
      if (focused >= 0) next.children[Math.min(focused, order.length - 1)].focus();
    }

    function buildHeads() {
      const T = model.config.block_size, count = (n) => Array.from({ length: n }, (_, i) => i + 1);
      const picture = (layer, head) => make("div", { role: "option", id: `${place}-head-${layer}-${head}`,
        "data-layer": layer, "data-head": head, "aria-label": `layer ${layer}, head ${head}` },
        make("canvas", { width: T, height: T }));
      const column = (layer) => make("div", { role: "group", "aria-label": `layer ${layer}` },
        make("span", { "aria-hidden": "true" }, layer),
        ...count(model.config.n_head).map((head) => picture(layer, head)));
      heads.append(...count(model.config.n_layer).map(column));
      canvases = [...heads.querySelectorAll("canvas")];
    }

    // - choosing -

    function chooseToken(j) {
      j = clamp(j, 0, spans.length - 1);
      change({ query: j === spans.length - 1 ? null : start + j });
    }
    function chooseHead(layer, head) {
      const { n_layer, n_head } = model.config;
      change({ layer: clamp(layer, 1, n_layer), head: clamp(head, 1, n_head) });
    }

    function pickToken({ target }) {
      if (spans.includes(target)) chooseToken(spans.indexOf(target));
    }
    function pickHead({ target }) {
      const { layer, head } = target.closest("[role=option]")?.dataset ?? {};
      if (layer) chooseHead(Number(layer), Number(head));
    }
    function hover({ type, target, pointerType }) {
      const j = type === "pointerover" ? spans.indexOf(target) : -1;
      if (pointerType === "mouse" && spans.length) drawQuery(j < 0 ? query() : j);
    }

    function pressToken(event) {
      const j = { ArrowLeft: query() - 1, ArrowRight: query() + 1, Home: 0, End: Infinity }[event.key];
      if (j === undefined) return;
      event.preventDefault();
      chooseToken(j);
    }
    function pressHead(event) {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      chooseHead(now.layer + step[0], now.head + step[1]);
    }

    // - the address -

    function share() {
      const { layer, head, query, temperature, topK, compare } = now;
      const heads = whole ? { layer, head, query } : {};
      state.set({ prompt: text.value, ...heads, temperature, topk: topK < Infinity ? topK : null,
        compare: compare ? "yes" : options.compare ? "no" : null });
    }

    function change(changes) {
      now = { ...now, ...changes };
      share();
      if (memory?.ids.length) draw();
    }

    function follow(values) {
      interrupt();
      const { layer, head, query, compare } = options;
      now = fromAddress({ layer, head, query, compare, ...values });
      text.value = values.prompt ?? options.prompt ?? "";
      heat.set(now.temperature);
      cut.set(TOP_K.indexOf(now.topK));
    }

    follow(state.get());
    state.watch((values) => { follow(values); update(); });
    Live.onTheme(() => { colors = null; painted = []; if (memory?.ids.length) draw(); });
    if (Object.keys(state.get()).length) return update();  // somebody shared what is to be seen
    if (!navigator.connection?.saveData) return Live.idle().then(update);
    Live.say(stage, "“Go on”, or the first letter that you type, loads the model: 1.2 MB.");
  });
}
