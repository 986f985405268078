// One layer of attention learns to look up: forward, backward by hand, Adam.
//
// A text tells a digit for each of four names, each name twice, A3 C7 B1 C5 ..., and then asks for one: C?
// The answer is what the name was told last. All digits are drawn anew for each text, so there is nothing to
// learn by heart but how to look.
//
//   x = a row of E for the name + a row of E for the place
//   q = x W_Q of the question,  k = x W_K and v = W_V[digit] of each entry
//   weights = softmax(q kᵀ / √d_head) in each head,  answers = concat(weights v) W_O
//
// A model and its gradient are both { E, W_Q, W_K, W_V, W_O }: flat arrays, one row after the other.
// A task is { heads, asked, positions, mask }: one or two heads, one or two names asked for at once, two booleans.

"use strict";

(() => {
  const LETTERS = 16, DIGITS = 10, TOLD = 8, C = 20;
  // The rows of E: letters as names, letters as the second name of a question, the answer, and the places.
  const ANSWER = 2 * LETTERS, PLACE = ANSWER + 1, ROWS = PLACE + TOLD + 2;
  const STEPS = 600, BATCH = 64, RATE = 0.02, BETA1 = 0.9, BETA2 = 0.98;

  // Numbers in [0, 1), the same from the same seed in every browser (the generator is called mulberry32).
  function randomFrom(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  function shuffled(items, random) {
    const order = [...items];
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  // [{ name, digit }, ...], both counted from 0.
  function text(random) {
    const names = shuffled(Array(LETTERS).keys(), random).slice(0, TOLD / 2);
    return shuffled([...names, ...names], random).map((name) => ({ name, digit: Math.floor(random() * DIGITS) }));
  }

  // What the model is given when `names` are asked for: the rows of E for each key and for the query, the digits
  // of the values, and the digits wanted. In the text the answer follows the question: it is the last entry.
  function ask(told, names, { positions }) {
    const at = (place, ...rows) => positions ? [...rows, PLACE + place] : rows;
    const wanted = names.map((name) => told.findLast((entry) => entry.name === name).digit);
    return {
      keys: [...told.map(({ name }, place) => at(place, name)), at(TOLD + 1, ANSWER)],
      digits: [...told.map(({ digit }) => digit), wanted[0]],
      query: at(TOLD, ...names.map((name, i) => i * LETTERS + name)),
      wanted,
    };
  }

  const batch = (size, task, random) => Array.from({ length: size }, () => {
    const told = text(random), names = new Set(told.map(({ name }) => name));
    return ask(told, shuffled(names, random).slice(0, task.asked), task);
  });

  // y (rows, m) = x (rows, n) W (n, m)
  function times(x, W, n, m) {
    const rows = x.length / n, y = new Float64Array(rows * m);
    for (let r = 0; r < rows; r++)
      for (let i = 0; i < n; i++)
        for (let j = 0; j < m; j++) y[r * m + j] += x[r * n + i] * W[i * m + j];
    return y;
  }

  // The same backward: adds to dx = ∂loss/∂x and to dW = ∂loss/∂W.
  function timesBack(dy, x, W, dx, dW, n, m) {
    for (let r = 0; r < x.length / n; r++)
      for (let i = 0; i < n; i++)
        for (let j = 0; j < m; j++) {
          dx[r * n + i] += dy[r * m + j] * W[i * m + j];
          dW[i * m + j] += dy[r * m + j] * x[r * n + i];
        }
  }

  function sum(rows, of) {
    const total = new Float64Array(C);
    for (const row of rows) for (let c = 0; c < C; c++) total[c] += of[row * C + c];
    return total;
  }

  // The answers (B, asked * 10), and for each question its q, its keys k and its weights (heads, seen). With the
  // mask, or in a test, where nobody has answered yet, a question sees what stands before it; else the answer, too.
  function forward({ E, W_Q, W_K, W_V, W_O }, questions, { heads, asked, mask }, test) {
    const d = C / heads, seen = TOLD + (mask || test ? 0 : 1);
    const Q = times(E, W_Q, C, C), K = times(E, W_K, C, C);  // the sum of rows, times W, is the sum of rows of these
    const mixed = new Float64Array(questions.length * C);    // the answers of all heads side by side
    const looks = questions.map(({ keys, digits, query }, b) => {
      const q = sum(query, Q), k = keys.slice(0, seen).map((rows) => sum(rows, K)), weights = [];
      for (let h = 0; h < heads; h++) {
        const scores = k.map((k_t) => {
          let score = 0;
          for (let c = h * d; c < (h + 1) * d; c++) score += q[c] * k_t[c];
          return score / Math.sqrt(d);
        });
        weights[h] = Live.softmax(scores);
        weights[h].forEach((w, t) => {
          for (let c = h * d; c < (h + 1) * d; c++) mixed[b * C + c] += w * W_V[digits[t] * C + c];
        });
      }
      return { q, k, weights };
    });
    return { looks, mixed, answers: times(mixed, W_O, C, asked * DIGITS) };
  }

  // What is said, how much of it is right, the squared error and its gradient. An answer has a number for each
  // digit, its share less 1/10; whoever knows nothing and answers 0 for all has the error 1.
  function judge(answers, questions) {
    const wanted = questions.flatMap((question) => question.wanted), n = wanted.length;
    const miss = answers.map((x, i) => x + 1 / DIGITS - (wanted[Math.floor(i / DIGITS)] === i % DIGITS));
    const said = wanted.map((_, i) => {
      const shares = answers.subarray(i * DIGITS, (i + 1) * DIGITS);
      return shares.indexOf(Math.max(...shares));
    });
    const right = said.filter((digit, i) => digit === wanted[i]).length / n, nothing = n * (1 - 1 / DIGITS);
    const error = miss.reduce((total, x) => total + x * x, 0) / nothing;
    return { said, right, error, dAnswers: miss.map((x) => 2 * x / nothing) };
  }

  const zeros = (model) => Object.fromEntries(Object.entries(model).map(([name, W]) => [name, new Float64Array(W.length)]));

  function backward(model, questions, { heads, asked }, { looks, mixed }, dAnswers) {
    const gradient = zeros(model), { E, W_V } = model, d = C / heads;
    const { dMixed, dQ, dK } = zeros({ dMixed: mixed, dQ: E, dK: E });
    timesBack(dAnswers, mixed, model.W_O, dMixed, gradient.W_O, C, asked * DIGITS);
    looks.forEach(({ q, k, weights }, b) => weights.forEach((w, h) => {
      const { keys, digits, query } = questions[b], dw = w.map(() => 0);
      for (let c = h * d; c < (h + 1) * d; c++)
        for (let t = 0; t < w.length; t++) {
          dw[t] += dMixed[b * C + c] * W_V[digits[t] * C + c];
          gradient.W_V[digits[t] * C + c] += dMixed[b * C + c] * w[t];
        }
      const mean = w.reduce((total, w_t, t) => total + w_t * dw[t], 0);
      for (let t = 0; t < w.length; t++) {
        const dScore = w[t] * (dw[t] - mean) / Math.sqrt(d);  // the softmax backward
        for (let c = h * d; c < (h + 1) * d; c++) {
          for (const row of query) dQ[row * C + c] += dScore * k[t][c];
          for (const row of keys[t]) dK[row * C + c] += dScore * q[c];
        }
      }
    }));
    timesBack(dQ, E, model.W_Q, gradient.E, gradient.W_Q, C, C);
    timesBack(dK, E, model.W_K, gradient.E, gradient.W_K, C, C);
    return gradient;
  }

  // A model that knows nothing, and what its training needs.
  function start(task, seed) {
    const random = randomFrom(seed);
    const one = (spread) => spread * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const normal = (rows, columns, spread) => Float64Array.from({ length: rows * columns }, () => one(spread));
    const model = {
      E: normal(ROWS, C, 0.5), W_Q: normal(C, C, C ** -0.5), W_K: normal(C, C, C ** -0.5),
      W_V: normal(DIGITS, C, 0.5), W_O: normal(C, task.asked * DIGITS, 0.25),
    };
    return { task, random, model, m: zeros(model), v: zeros(model), step: 0 };
  }

  // One step of Adam on a batch of new questions, at a rate that falls to a tenth; returns the batch's judgement.
  function advance(run) {
    const { task, model, m, v, random } = run, questions = batch(BATCH, task, random);
    const trace = forward(model, questions, task), judged = judge(trace.answers, questions);
    const gradient = backward(model, questions, task, trace, judged.dAnswers);
    const rate = RATE * (1 - 0.9 * run.step / STEPS), bias1 = 1 - BETA1 ** ++run.step, bias2 = 1 - BETA2 ** run.step;
    for (const [name, g] of Object.entries(gradient))
      for (let i = 0; i < g.length; i++) {
        m[name][i] += (1 - BETA1) * (g[i] - m[name][i]);
        v[name][i] += (1 - BETA2) * (g[i] ** 2 - v[name][i]);
        model[name][i] -= rate * m[name][i] / bias1 / (Math.sqrt(v[name][i] / bias2) + 1e-8);
      }
    return judged;
  }

  Live.provide("learn", { STEPS, randomFrom, text, ask, batch, forward, judge, backward, start, advance });
})();
