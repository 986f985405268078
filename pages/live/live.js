// The core of the live widgets: where one is placed, what it may use, and how the address remembers it.
//
// A widget is a function mount(stage, options, state) that fills the element `stage`:
//
//   Live.widget("name", (stage, options, state) => { stage.append(Live.make("p", {}, "Hello")); });
//
// In a page stands <div class="live" id="..." data-widget="name" data-options="{...}"> around a picture and a
// sentence. When the reader comes near, the widget is mounted; when it is ready, and not before, it takes the
// picture's place. If it cannot be, the picture stays. Everything here runs from the disk as from any host, and asks for nothing beyond it.

"use strict";

const Live = (() => {
  const home = new URL("./", document.currentScript.src);  // where this file and the widgets' others lie
  const mounts = {};             // name of a widget -> its mount function
  const places = new Map();      // id in the page -> { element, state, mounted }
  const wanted = new Map();      // name of data -> { promise, resolve } while it is loaded and after

  // --- elements ------------------------------------------------------------------------------------------

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === false || value == null) element.removeAttribute(name);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  }

  // set(element, { x: 1, disabled: false, onclick: go }): attributes, and listeners.
  const set = (element, attributes) => fill(element, attributes, []);
  // make("button", { class: "live-button", onclick: go }, "Go"): an element with all that and with children.
  const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  // A labeled slider. `text` writes the value for eye and ear; `field.set(value)` moves it silently. With
  // `log` it moves through the powers of ten, by a hundredth of one at a step.
  function slider(label, { min, max, step = "any", log = false, value, text = String }, moved) {
    const [to, from] = log ? [Math.log10, (x) => 10 ** x] : [Number, Number];
    const input = make("input", { type: "range", min: to(min), max: to(max), step: log ? 0.01 : step });
    const shown = make("span", { class: "live-value", "aria-hidden": "true" });
    const field = make("label", { class: "live-slider" }, make("span", {}, label), input, shown);
    function show(value) {
      shown.textContent = text(value);
      input.setAttribute("aria-valuetext", shown.textContent);
    }
    input.addEventListener("input", () => { show(from(input.value)); moved(from(input.value)); });
    field.set = (value) => { input.value = to(value); show(value); };
    field.set(value);
    return field;
  }

  // A labeled check box; `field.set(checked)` sets it silently.
  function check(label, checked, changed) {
    const input = make("input", { type: "checkbox", onchange: () => changed(input.checked) });
    const field = make("label", { class: "live-check" }, input, make("span", {}, label));
    field.set = (checked) => { input.checked = checked; };
    field.set(checked);
    return field;
  }

  // One line at the end of the stage that is read out when it changes.
  function say(stage, text) {
    let line = stage.querySelector(":scope > .live-status");
    line ??= stage.appendChild(make("p", { class: "live-status", role: "status" }));
    if (line.textContent !== text) line.textContent = text;
  }

  // tinyllm.attention's softmax, for one row of scores: positive weights that sum to 1.
  function softmax(scores) {
    const largest = Math.max(...scores), exps = scores.map((score) => Math.exp(score - largest));
    const sum = exps.reduce((a, b) => a + b);
    return exps.map((exp) => exp / sum);
  }

  // --- colors --------------------------------------------------------------------------------------------

  const NAMES = ["lookup", "smoother", "ink", "quiet", "line", "paper"];
  let table = [];  // the colors of the weights 0, 1/255, ..., 1 in the present theme

  const root = document.documentElement;
  const variable = (name) => getComputedStyle(root).getPropertyValue(`--live-${name}`).trim();

  // The colors of the present theme for a canvas. (Elements use the variables of live.css.)
  const colors = () => Object.fromEntries(NAMES.map((name) => [name, variable(name)]));

  // The color of an attention weight between 0 and 1: the book's heat maps have the same.
  function shade(weight) {
    if (!table.length) {
      const stops = variable("weights").split(/\s+/).map(
        (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
      table = Array.from({ length: 256 }, (_, i) => {
        const at = i / 255 * (stops.length - 1), left = Math.min(Math.floor(at), stops.length - 2);
        const mixed = stops[left].map((c, j) => Math.round(c + (at - left) * (stops[left + 1][j] - c)));
        return `rgb(${mixed.join(", ")})`;
      });
    }
    return table[Math.round(255 * Math.min(Math.max(weight, 0), 1))];
  }

  // The same colors by levels: `pixels` for a canvas, `paper` for an element's background, and `ink`, which is read
  // best on it. Weights can be small and many: the level of a weight goes by its root, which keeps them in sight.
  function palette() {
    const colors = Array.from({ length: 256 }, (_, i) => shade(i / 255).match(/\d+/g).map(Number));
    const light = (rgb) => rgb.reduce((sum, x, i) => sum + [0.21, 0.72, 0.07][i] * (x / 255) ** 2.2, 0);
    return {
      level: (weight) => Math.round(255 * Math.sqrt(weight)),
      pixels: Uint32Array.from(colors, ([r, g, b]) => 0xff000000 | b << 16 | g << 8 | r),
      paper: colors.map((c) => `rgb(${c})`),
      ink: colors.map((c) => (light(c) > 0.18 ? "#16121c" : "#fff")),
    };
  }

  // A canvas has to be drawn again when the page turns dark; elements turn by themselves.
  const redraws = [() => { table = []; }];
  const onTheme = (redraw) => redraws.push(redraw);
  new MutationObserver(() => redraws.forEach((redraw) => redraw()))
    .observe(root, { attributeFilter: ["data-theme"] });

  // Does the reader want nothing to move by itself?
  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // Fulfilled when the page has nothing more urgent to do.
  const idle = () => new Promise((resume) => (window.requestIdleCallback ?? setTimeout)(() => resume()));

  // --- data ----------------------------------------------------------------------------------------------

  // The engine and the model for a widget, which gets them by `ready`. `wake` asks for them once, and gives whether
  // they are there; after a failure, and only then, `retry`, which is for the button of that name, has them asked for anew.
  function asking(stage, button, ready) {
    let asked = null, lost = false;
    async function load() {
      lost = false;
      say(stage, "Loading the model …");
      const GPT = await need("gpt");
      ready(GPT, GPT.load(await need("taleteller")));
      return true;
    }
    function failed(error) {
      lost = true;
      say(stage, `The model is not here: ${error.message} Your text stays; “${button}” tries again.`);
      return false;
    }
    return { wake: () => asked ??= load().catch(failed), retry: () => { if (lost) asked = null; } };
  }

  // A page on the disk may not fetch a file, but it may run one: data come as scripts that call `provide`.
  function need(name) {
    if (!wanted.has(name)) {
      const entry = {};
      wanted.set(name, entry);
      entry.promise = new Promise((resolve, reject) => {
        const fail = (why) => {
          wanted.delete(name);  // so that asking again tries again
          script.remove();
          reject(new Error(`the file ${name}.js, which this needs, ${why}.`));
        };
        const script = make("script", {
          src: new URL(`${name}.js`, home),
          onerror: () => fail("could not be loaded; look at your connection or at the folder of the book"),
          onload: () => { if (!entry.provided) fail("was loaded but is damaged"); },
        });
        entry.resolve = resolve;
        document.head.append(script);
      });
    }
    return wanted.get(name).promise;
  }

  function provide(name, data) {
    const entry = wanted.get(name);
    if (!entry) { wanted.set(name, { provided: true, promise: Promise.resolve(data) }); return; }
    entry.provided = true;
    entry.resolve(data);
  }

  // --- the address: #id?key=value&key=value --------------------------------------------------------------

  function fragment() {
    const [id, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
    return { id, values: Object.fromEntries(new URLSearchParams(query)) };
  }

  // What of a widget can be shared. get() gives strings; set({ key: value }) changes some of them, and null
  // takes one out; watch(f) calls f(values) when the reader follows a link to another state.
  function stateOf(id) {
    let values = fragment().id === id ? fragment().values : {};
    let timer, watcher = () => {};
    function write() {
      const query = new URLSearchParams(values).toString();
      history.replaceState(history.state, "", `#${id}${query && "?"}${query}`);
    }
    return {
      get: () => ({ ...values }),
      set(changes) {
        const kept = Object.entries({ ...values, ...changes }).filter(([, value]) => value != null);
        values = Object.fromEntries(kept.map(([key, value]) => [key, String(value)]));
        clearTimeout(timer);
        timer = setTimeout(write, 200);  // browsers stop counting after too many changes a second
      },
      watch: (callback) => { watcher = callback; },
      follow(changed) { clearTimeout(timer); values = changed; watcher({ ...values }); },
    };
  }

  // --- mounting ------------------------------------------------------------------------------------------

  function mount(place) {
    place.mounted ??= (async () => {
      const { element, state } = place, { widget, options } = element.dataset;
      const stage = make("div", { class: "live-stage live-waiting", role: "group", "aria-label": `Live: ${widget}` });
      element.querySelector(".live-picture").after(stage);
      try {
        if (!mounts[widget]) throw new Error(`there is no widget "${widget}" in this page.`);
        await mounts[widget](stage, JSON.parse(options), state);
        element.classList.add("live-mounted");  // live.css hides the picture
      } catch (error) {
        console.error(error);
        stage.replaceChildren();
        say(stage, `This stays a picture: ${error.message}`);
      }
      stage.classList.remove("live-waiting");
    })();
    return place.mounted;
  }

  async function visit() {
    const { id, values } = fragment(), place = places.get(id);
    if (!place) return;
    if (place.mounted) place.state.follow(values);
    await mount(place);
    await document.fonts.ready;  // formulas above it change their height
    place.element.scrollIntoView();
  }

  addEventListener("DOMContentLoaded", () => {
    // A reader who scrolls should find the widget there already.
    const near = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries)
        if (isIntersecting) { near.unobserve(target); mount(places.get(target.id)); }
    }, { rootMargin: "800px" });
    for (const element of document.querySelectorAll(".live[data-widget]")) {
      places.set(element.id, { element, state: stateOf(element.id) });
      near.observe(element);
    }
    addEventListener("hashchange", visit);
    visit();
  });

  const widget = (name, mount) => { mounts[name] = mount; };
  return {
    widget, need, asking, provide, say, softmax, set, make, svg, slider, check, colors, shade, palette, onTheme, still, idle,
  };
})();
