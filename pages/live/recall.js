// Recall: one layer of attention learns a lookup while one watches, or fails to, and why can be seen.

"use strict";

{
  const WHOLE = { heads: 1, asked: 1, positions: true, mask: true };
  // What can be taken away. `best` is the least error, and where it is known the most right answers, left to reach.
  // (With two digits in one mean the error of a linear read-out is bounded; which digit is the largest is not.)
  const TASKS = {
    one: { ...WHOLE, label: "one head" },
    positions: { ...WHOLE, positions: false, label: "no positions", best: { error: 0.5, right: 0.55 },
      why: "Both entries of a name have one key and get one weight: without an order, the error stays at ½ at least." },
    mask: { ...WHOLE, mask: false, label: "no mask", best: { error: 0.82, right: 0.36 },
      why: "It copies the answer after the question and knows no name; from the places alone, 0.82 is the least error." },
    two: { ...WHOLE, asked: 2, label: "two names, one head", best: { error: 0.5 },
      why: "Both digits go into one mean, and a linear read-out cannot take them apart: its error stays at ½ at least." },
    heads: { ...WHOLE, asked: 2, heads: 2, label: "two names, two heads" },
  };
  const START = { task: "one", seed: "0", steps: "0", text: "A3 C7 B1 C5 A8 D4 B6 D2" };
  const MOST = 9999;               // the largest seed
  const TESTED = 500, EVERY = 10;  // new questions, asked each time after so many steps
  const PACE = 2, BUDGET = 8;      // steps between two pictures, and milliseconds at most
  const LEFT = 18, WIDTH = 260, HEIGHT = 84;  // of a chart

  const { make, svg } = Live;
  const letter = (name) => String.fromCharCode(65 + name);
  const written = (told) => told.map(({ name, digit }) => letter(name) + digit).join(" ");
  const spoken = { error: (x) => x.toFixed(2), right: (x) => `${+(100 * x).toFixed(1)} %` };

  function parsed(text) {
    const words = text.trim().toUpperCase().split(/[\s,]+/), odd = words.find((word) => !/^[A-P]\d$/.test(word));
    if (odd !== undefined) throw new Error(`An entry is a letter from A to P and a digit, not “${odd.slice(0, 9)}”.`);
    if (words.length !== 8) throw new Error(`A text has eight entries; here there are ${words.length}.`);
    if (words.every(([name]) => name === words[0][0])) throw new Error("A text needs two names at least.");
    return words.map(([name, digit]) => ({ name: name.charCodeAt(0) - 65, digit: +digit }));
  }

  function number(text, most) {
    if (!/^\d+$/.test(text) || +text > most) throw new Error(`A whole number from 0 to ${most} is needed.`);
    return +text;
  }

  function cell(weight, wanted) {
    if (weight === undefined) return make("td", { class: "live-recall-hidden" });
    const color = Live.shade(weight), [r, g, b] = color.match(/\d+/g).map((x) => (x / 255) ** 2.2);
    const ink = 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "black" : "white";  // the one with more contrast
    return make("td", { class: wanted && "live-recall-wanted", style: `background: ${color}; color: ${ink}` },
      weight < 0.05 ? "" : weight > 0.995 ? "1" : weight.toFixed(2).slice(1));
  }

  Live.widget("recall", async (stage, options, state) => {
    const learn = await Live.need("learn");
    let run, told, going = false;

    // - what a reader does -

    const button = (label, onclick) => make("button", { class: "live-button", type: "button", onclick }, label);
    function field(label, heard) {
      const input = make("input", { class: "live-field", spellcheck: "false", autocomplete: "off", onchange: () => {
        try { heard(input.value); } catch (wrong) { Live.say(stage, wrong.message); }
      } });
      return make("label", { class: `live-recall-${label}` }, label, input);
    }
    const choices = Object.entries(TASKS).map(([value, { label }]) => make("label", { class: "live-check" }, make("input",
      { type: "radio", name: stage.parentElement.id, value, onchange: () => practice(begin(value, run.seed)) }), label));
    const go = button("Train", () => {
      if (going) going = false;
      else practice(run.step < learn.STEPS ? run : begin(run.name, run.seed));
    });
    go.classList.add("live-first");
    const ten = button("10 steps", () => practice(run, run.step + 10));
    const seed = field("seed", (typed) => practice(begin(run.name, number(typed, MOST))));
    const another = button("New seed", () => practice(begin(run.name, (run.seed + 1) % (MOST + 1))));
    const text = field("text", (typed) => tell(parsed(typed)));
    const shuffle = button("New text", () => tell(learn.text(Math.random)));
    const map = make("table", { class: "live-recall-map" }), charts = make("div", { class: "live-recall-charts" });

    function tell(entries) {
      told = entries;
      text.lastChild.value = written(told);
      show();
      remember();
    }

    function remember() {
      const now = { task: run.name, seed: run.seed, steps: run.step, text: written(told) };
      for (const key in now) if (`${now[key]}` === START[key]) now[key] = null;
      state.set(now);
    }

    // - what the model does -

    function begin(name, number) {
      const task = TASKS[name], questions = learn.batch(TESTED, task, learn.randomFrom(-1 - number));
      run = { ...learn.start(task, number), name, seed: number, questions, training: [], tested: [] };
      seed.lastChild.value = number;
      for (const { firstChild } of choices) firstChild.checked = firstChild.value === name;
      test();
      return run;
    }

    function test() {
      const { answers } = learn.forward(run.model, run.questions, run.task, true);
      run.tested.push({ step: run.step, ...learn.judge(answers, run.questions) });
    }

    // Up to a step, in slices that leave the page time to answer.
    async function train(mine, until, drawing) {
      going = true;
      Live.say(stage, "Training …");
      while (going && run === mine && run.step < until) {
        const pause = performance.now() + BUDGET;
        for (let i = 0; (i < PACE || !drawing) && run.step < until && performance.now() < pause; i++) {
          const judged = learn.advance(run);
          if (run.step % EVERY === 0) { run.training.push({ step: run.step, ...judged }); test(); }
        }
        if (drawing) show();
        await new Promise(drawing ? requestAnimationFrame : setTimeout);
      }
      if (run !== mine) return;
      going = false;
      show();
    }

    const practice = (run, until = learn.STEPS) => train(run, until, !Live.still()).then(remember);

    // - what the page says -

    // A row for each head of each question that can be asked about the text.
    function rows(test) {
      const { task, model } = run, names = [...new Set(told.map(({ name }) => name))].sort((a, b) => a - b);
      const asked = names.map((name, i) => [name, names[(i + 1) % names.length]].slice(0, task.asked));
      const questions = asked.map((names) => learn.ask(told, names, task));
      const { looks, answers } = learn.forward(model, questions, task, test), { said } = learn.judge(answers, questions);
      return questions.flatMap(({ wanted }, i) => looks[i].weights.map((weights, h) => {
        const last = asked[i].map((name) => told.findLastIndex((entry) => entry.name === name));
        const cells = [...told, "answer"].map((_, t) => cell(weights[t], last.includes(t)));
        if (h > 0) return make("tr", {}, ...cells);
        const replies = said.slice(i * task.asked, (i + 1) * task.asked)
          .map((digit, j) => make("span", {}, `${digit}${digit === wanted[j] ? "✓" : "✗"}`));
        return make("tr", {}, make("th", { scope: "row", rowspan: task.heads }, `${asked[i].map(letter).join("")}?`),
          ...cells, make("td", { class: "live-recall-reply", rowspan: task.heads }, ...replies));
      }));
    }

    // The error or the share of right answers over the steps; a broken line is the best that is left to reach.
    function chart(name, what) {
      const { task: { best, mask }, training, tested } = run;
      const curves = mask || !training.length ? { tested } : { training, tested };
      const top = what === "error" ? 1.2 : 1;  // with room for what is worse than to know nothing
      const y = (share) => (4 + HEIGHT * (1 - Math.min(share / top, 1))).toFixed(1);
      const at = (point) => `${(LEFT + (WIDTH - LEFT) * point.step / learn.STEPS).toFixed(1)} ${y(point[what])}`;
      const line = (kind, d) => svg("path", { class: `live-recall-${kind}`, d });
      const levels = [["axis", 0], ["axis", 1], ...(what in (best ?? {}) ? [["best", best[what]]] : [])];
      const legend = [...Object.entries(curves).map(([kind, points]) => [kind, points.at(-1)[what]]), ...levels.slice(2)];
      return make("div", {},
        make("p", { class: "live-recall-legend" }, make("strong", {}, name),
          ...legend.map(([kind, share]) => make("span", { class: `live-recall-${kind}` }, `${kind} ${spoken[what](share)}`))),
        svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 10}`, role: "img", "aria-label": `${name} over ${learn.STEPS} steps` },
          ...["0", "½", "1"].map((tick, i) => svg("text", { x: 0, y: +y(i / 2) + 4 }, tick)),
          ...levels.map(([kind, share]) => line(kind, `M ${LEFT} ${y(share)} H ${WIDTH}`)),
          ...Object.entries(curves).map(([kind, points]) => line(kind, `M ${points.map(at).join(" L ")}`)),
          ...(run.step ? [] : [svg("text", { class: "live-recall-waits", x: (LEFT + WIDTH) / 2, y: HEIGHT / 2 + 8 },
            going ? "" : "“Train” draws the curve")])));
    }

    function show() {
      const { task, step, tested } = run, right = spoken.right(tested.at(-1).right);
      const head = (word) => make("th", { scope: "col" }, word);
      const title = (words) => make("tr", {}, make("th", { scope: "rowgroup", colspan: 11 }, words));
      map.replaceChildren(
        make("thead", {}, make("tr", {}, make("td"), ...written(told).split(" ").map(head), head("="), make("td"))),
        make("tbody", {}, ...(task.mask ? rows(true) : [
          title("training, the answer in sight"), ...rows(false), title("tested, nobody has answered yet"), ...rows(true)])));
      charts.replaceChildren(chart("error", "error"), chart("right answers", "right"));
      go.textContent = going ? "Pause" : step < learn.STEPS ? "Train" : "Train again";
      ten.disabled = going || step === learn.STEPS;
      const result = `After ${step} steps ${right} of ${TESTED} new questions are answered right.`;
      if (!going) Live.say(stage, step === learn.STEPS && task.why ? `${result} ${task.why}` : result);
    }

    async function follow(values) {
      const wanted = { ...START, ...values };
      let steps;
      try {
        if (!Object.hasOwn(TASKS, wanted.task)) throw new Error();
        [told, steps] = [parsed(wanted.text), number(wanted.steps, learn.STEPS)];
        begin(wanted.task, number(wanted.seed, MOST));
      } catch {
        await follow(START);
        return Live.say(stage, "The address holds what cannot be; this is the start instead.");
      }
      text.lastChild.value = wanted.text;
      await train(run, steps, false);
    }

    stage.append(
      make("fieldset", { class: "live-controls" }, make("legend", {}, "Train"), ...choices),
      make("div", { class: "live-controls" }, go, ten, seed, another),
      make("div", { class: "live-controls live-recall-told" }, text, shuffle),
      make("div", { class: "live-beside" }, map, charts));
    await follow(state.get());
    state.watch(follow);
  });
}
