// A GPT that runs in the page: tinyllm's tokens.py, model.py and generation.py once more, on typed arrays.
//
// Nothing here knows of a page. `GPT.load(data)` takes what course/export.py wrote and gives a model:
//
//   const ids = model.encode("Once upon a time");
//   const memory = model.remember();
//   await model.read(memory, ids);
//   const p = GPT.probabilities(model.logits(memory), temperature, topK);
//
// Names and equations are those of the book: C channels, V ids, T places of the context; q, k, v; weights.

"use strict";

const GPT = (() => {
  const { softmax } = Live;

  // --- tokens (chapter 01) ----------------------------------------------------------------------------------

  // Text to ids and back. merges[i] is the pair of ids that becomes the id 256 + i.
  function tokenizer(merges, pattern) {
    const pieces = new RegExp(pattern, "gu"), known = new Map(), utf8 = new TextEncoder();
    const bytes = Array.from({ length: 256 }, (_, byte) => [byte]);
    const merged = new Map(merges.map(([a, b], i) => [a * 65536 + b, 256 + i]));
    for (const [a, b] of merges) bytes.push([...bytes[a], ...bytes[b]]);

    // Of all pairs of neighbors that merge, the one learned first does, until none is left.
    function encodePiece(piece) {
      let ids = [...utf8.encode(piece)];
      for (;;) {
        let first = Infinity;
        for (let i = 1; i < ids.length; i++)
          first = Math.min(first, merged.get(ids[i - 1] * 65536 + ids[i]) ?? Infinity);
        if (first === Infinity) return ids;
        const [a, b] = merges[first - 256], shorter = [];
        for (let i = 0; i < ids.length; i++)
          if (ids[i] === a && ids[i + 1] === b) { shorter.push(first); i++; } else shorter.push(ids[i]);
        ids = shorter;
      }
    }

    function encode(text) {
      return (text.match(pieces) ?? []).flatMap((piece) => {
        if (!known.has(piece)) known.set(piece, encodePiece(piece));
        return known.get(piece);
      });
    }

    const decodeBytes = (ids) => Uint8Array.from(ids.flatMap((id) => bytes[id]));
    const decode = (ids) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(decodeBytes(ids));
    return { encode, decodeBytes, decode };
  }

  // --- weights ----------------------------------------------------------------------------------------------

  function numbers(base64) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    return new Float32Array(bytes.buffer);
  }

  // A row of a matrix is written in whole numbers from -46 to 46, a character each (those from the space to ~
  // without " and \), and a scale. A vector is written in plain numbers.
  function tensor({ digits, scales, gain }) {
    if (gain) return numbers(gain);
    const scale = numbers(scales), W = new Float32Array(digits.length), C = W.length / scale.length;
    for (let i = 0; i < W.length; i++) {
      const code = digits.charCodeAt(i);
      W[i] = (code - 32 - (code > 34) - (code > 92) - 46) * scale[Math.floor(i / C)];
    }
    return W;
  }

  // --- the pieces of a transformer, for one token -----------------------------------------------------------

  // y = W x, or with `add` y += W x. Four sums at a time: a single one would wait for itself.
  function times(W, x, y, add = false) {
    const C = x.length;
    for (let row = 0, i = 0; row < y.length; row++, i += C) {
      let a = 0, b = 0, c = 0, d = 0;
      for (let j = 0; j < C; j += 4) {
        a += W[i + j] * x[j];
        b += W[i + j + 1] * x[j + 1];
        c += W[i + j + 2] * x[j + 2];
        d += W[i + j + 3] * x[j + 3];
      }
      y[row] = a + b + c + d + (add ? y[row] : 0);
    }
  }

  function layerNorm(x, gain) {
    const mean = x.reduce((sum, z) => sum + z, 0) / x.length;
    const variance = x.reduce((sum, z) => sum + (z - mean) ** 2, 0) / x.length;
    return x.map((z, i) => (z - mean) / Math.sqrt(variance + 1e-5) * gain[i]);
  }

  // erf(x) = 2/√π e^(-x²) (x + 2x³/3 + 4x⁵/15 + ...): all terms have one sign, so nothing cancels.
  const ratios = Array.from({ length: 100 }, (_, n) => 2 / (2 * n + 1));
  function erf(x) {
    const r = Math.abs(x);
    if (r > 5) return Math.sign(x);
    let term = r, sum = r;
    for (let n = 1; term > 1e-10 * sum; n++) sum += term *= r * r * ratios[n];
    return Math.sign(x) * 2 / Math.sqrt(Math.PI) * Math.exp(-r * r) * sum;
  }

  const gelu = (x) => x / 2 * (1 + erf(x / Math.SQRT2));

  // --- the model (chapter 07), with a memory of keys and values (chapter 09) --------------------------------

  function load({ config, tensors, merges, pattern }) {
    const { vocab_size: V, block_size: T, n_layer, n_head, d_model: C } = config;
    const d = C / n_head, layers = [...Array(n_layer).keys()], heads = [...Array(n_head).keys()];
    const weight = Object.fromEntries(Object.entries(tensors).map(([name, packed]) => [name, tensor(packed)]));
    const unembed = weight["head.weight"] ?? weight["token.weight"];
    const blocks = layers.map((layer) => {
      const part = (name) => weight[`blocks.${layer}.${name}.weight`];
      return {
        norm1: part("norm_1"), qkv: part("attention.qkv"), out: part("attention.out"),
        norm2: part("norm_2"), up: part("mlp.up"), down: part("mlp.down"),
      };
    });

    // All that was computed for the ids so far, so that none is computed twice. `work` counts tokens computed.
    // With `without`, { layer, head, output }, that head (counted from 0) gives this output at every place.
    const remember = (without = null) => ({
      ids: [], work: 0, without,
      q: layers.map(() => new Float32Array(T * C)),
      k: layers.map(() => new Float32Array(T * C)),
      v: layers.map(() => new Float32Array(T * C)),
      weights: layers.map(() => heads.map(() => new Float32Array(T * T))),  // [layer][head][query · T + key]
      residual: new Float32Array(T * C),
    });

    // Attention of the token at place t to all up to itself; fills in row t of each head's weights.
    function attend({ q, k, v, weights, without }, layer, t) {
      const output = new Float32Array(C);
      for (const h of heads) {
        const row = softmax(scoresOf(q[layer], k[layer], h, t));
        weights[layer][h].set(row, t * T);
        if (without?.layer === layer && without.head === h) output.set(without.output, h * d);
        else addValues(row, v[layer], h, output.subarray(h * d, (h + 1) * d));
      }
      return output;
    }

    // output += the mean of the values of head h under these weights, one for each key from the first on.
    function addValues(weights, values, h, output) {
      for (let j = 0; j < weights.length; j++)
        for (let c = 0; c < d; c++) output[c] += weights[j] * values[j * C + h * d + c];
    }

    // What head h of a layer gave on average over all places of the text, (d,).
    function meanOutput({ ids, weights, v }, layer, h) {
      const sum = new Float32Array(d);
      for (let t = 0; t < ids.length; t++) addValues(rowOf(weights[layer][h], t), v[layer], h, sum);
      return sum.map((x) => x / ids.length);
    }

    // q̄·k/√d of the mean query of a head and each key.
    function meanScores({ ids, q, k }, layer, h) {
      const mean = new Float32Array(C), n = ids.length;
      for (let i = 0; i < n * C; i++) mean[i % C] += q[layer][i] / n;
      return Float64Array.from({ length: n }, (_, j) => {
        let dot = 0;
        for (let c = h * d; c < (h + 1) * d; c++) dot += mean[c] * k[layer][j * C + c];
        return dot / Math.sqrt(d);
      });
    }

    // The weights of the query at place t on all keys up to it, out of a head's T · T.
    const rowOf = (weights, t) => weights.subarray(t * T, t * T + t + 1);

    // q·k/√d of the query at place t and each key up to it, in head h.
    function scoresOf(q, k, h, t) {
      const scores = new Float32Array(t + 1);
      for (let j = 0; j <= t; j++) {
        let dot = 0;
        for (let c = h * d; c < (h + 1) * d; c++) dot += q[t * C + c] * k[j * C + c];
        scores[j] = dot / Math.sqrt(d);
      }
      return scores;
    }

    // One more token: through all blocks, which leave q, k, v, weights and the residual stream in the memory.
    function step(memory, id) {
      const t = memory.ids.length, up = new Float32Array(4 * C), qkv = new Float32Array(3 * C);
      const x = weight["token.weight"].slice(id * C, (id + 1) * C);
      for (let c = 0; c < C; c++) x[c] += weight["position.weight"][t * C + c];
      blocks.forEach((block, layer) => {
        times(block.qkv, layerNorm(x, block.norm1), qkv);
        ["q", "k", "v"].forEach((name, i) => memory[name][layer].set(qkv.subarray(i * C, (i + 1) * C), t * C));
        times(block.out, attend(memory, layer, t), x, true);
        times(block.up, layerNorm(x, block.norm2), up);
        times(block.down, up.map(gelu), x, true);
      });
      memory.residual.set(x, t * C);
      memory.ids.push(id);
      memory.work++;
    }

    // Bring the memory to these ids (at most T): what it holds of their beginning stays. A long text is read in
    // slices of 10 ms, between which the page can do other things. False if other ids were asked for meanwhile.
    async function read(memory, ids) {
      memory.asked = ids;
      let same = 0, until = performance.now() + 10;
      while (same < ids.length && ids[same] === memory.ids[same]) same++;
      memory.ids.length = same;
      while (memory.ids.length < ids.length) {
        step(memory, ids[memory.ids.length]);
        if (performance.now() < until) continue;
        await new Promise((resume) => setTimeout(resume));
        if (memory.asked !== ids) return false;
        until = performance.now() + 10;
      }
      return true;
    }

    // What may follow the token at place t, the last one if not given.
    function logits({ ids, residual }, t = ids.length - 1) {
      const scores = new Float32Array(V);
      times(unembed, layerNorm(residual.slice(t * C, (t + 1) * C), weight["norm.weight"]), scores);
      return scores;
    }

    // The weights of one query in both views (chapter 05), a number per key:
    //   scores       q·k/√d, whose softmax are the weights
    //   distances    |q - k|
    //   gaussians    e^(-|q-k|²/2√d) over their sum: the weights of a smoother that counts every key once
    //   counts       e^(|k|²/2√d) over their mean under those weights
    //   products     gaussians · counts: the same weights
    function views({ q, k, weights }, layer, h, t) {
      const scores = scoresOf(q[layer], k[layer], h, t), squares = { apart: [], key: [] };
      for (let j = 0; j <= t; j++) {
        squares.apart[j] = squares.key[j] = 0;
        for (let c = h * d; c < (h + 1) * d; c++) {
          squares.apart[j] += (q[layer][t * C + c] - k[layer][j * C + c]) ** 2;
          squares.key[j] += k[layer][j * C + c] ** 2;
        }
      }
      const gaussians = softmax(squares.apart.map((square) => -square / 2 / Math.sqrt(d)));
      const longest = Math.max(...squares.key);
      const relative = squares.key.map((square) => Math.exp((square - longest) / 2 / Math.sqrt(d)));
      const mean = relative.reduce((sum, count, j) => sum + gaussians[j] * count, 0);
      const counts = relative.map((count) => count / mean);
      return {
        scores, weights: rowOf(weights[layer][h], t), distances: squares.apart.map(Math.sqrt),
        gaussians, counts, products: gaussians.map((gaussian, j) => gaussian * counts[j]),
      };
    }

    return { config, ...tokenizer(merges, pattern), remember, read, logits, views, meanOutput, meanScores, rowOf };
  }

  // --- generation (chapter 09) ------------------------------------------------------------------------------

  // softmax(logits / temperature) over the topK likeliest ids, or all; temperature 0: all on the likeliest.
  function probabilities(logits, temperature, topK = logits.length) {
    const order = logits.map((_, id) => id).sort((a, b) => logits[b] - logits[a] || a - b);
    const kept = order.slice(0, temperature ? topK : 1), p = new Float32Array(logits.length);
    softmax(Float64Array.from(kept, (id) => (logits[id] - logits[kept[0]]) / (temperature || 1)))
      .forEach((probability, i) => { p[kept[i]] = probability; });
    return p;
  }

  // An id drawn with these probabilities; u is random between 0 and 1.
  function draw(p, u = Math.random()) {
    let id = 0, sum = p[0];
    while (sum <= u && id < p.length - 1) sum += p[++id];
    return p[id] ? id : p.indexOf(Math.max(...p));
  }

  // Where the part of a text begins that the model still sees: it hops on by half a context when it has to.
  function visibleFrom(length, block) {
    const hop = Math.max(1, Math.floor(block / 2));
    return Math.max(0, Math.ceil((length - block) / hop)) * hop;
  }

  // --- measures of a head (chapter 12) ----------------------------------------------------------------------
  //
  // `rows` are the weights of a head, row t on the keys 0 to t. Nothing but weights is looked at, so that every
  // parametrisation that gives the same weights has the same measures.

  // exp of the entropy of a row: 1 if one key has all the weight, n if n keys share it evenly.
  const effectiveKeys = (row) => Math.exp(-row.reduce((sum, w) => sum + (w > 0 ? w * Math.log(w) : 0), 0));

  // Which part of the way from equal weights to these a guess goes: 1 - Σ KL(w‖p) / Σ KL(w‖equal) over all rows.
  // guess(row, t) gives log p of each key in row t.
  function explained(rows, guess) {
    let missed = 0, whole = 0;
    rows.forEach((row, t) => {
      const logs = guess(row, t);
      row.forEach((w, j) => {
        if (w === 0) return;
        missed += w * (Math.log(w) - logs[j]);
        whole += w * (Math.log(w) + Math.log(row.length));
      });
    });
    return whole > 0 ? 1 - missed / whole : 0;
  }

  // The guess that knows how far back a key is, and nothing else: p is in proportion to one number for each
  // offset, fitted to all other rows, so that a short text does not flatter. The likeliest numbers are known
  // without a search (Lynden-Bell 1971): in a row that reaches offset o, o has a part of what it and all smaller
  // offsets have, and the part is that of all such rows taken together. One row of equal weights is counted with
  // them, so that no part is 0 of 0.
  function byOffset(rows) {
    const at = new Float64Array(rows.length), upTo = new Float64Array(rows.length);
    function visit(row, add) {
      for (let o = 0, sum = 0; o < row.length; o++) add(o, row[row.length - 1 - o], sum += row[row.length - 1 - o]);
    }
    for (const row of rows) visit(row, (o, w, sum) => { at[o] += w; upTo[o] += sum; });
    return (row) => {
      const n = row.length, part = new Float64Array(n), logs = new Float64Array(n);
      visit(row, (o, w, sum) => { part[o] = (at[o] - w + 1 / n) / (upTo[o] - sum + (o + 1) / n); });
      for (let o = n - 1, left = 0; o >= 0; left += Math.log(1 - part[o--])) logs[n - 1 - o] = left + Math.log(part[o]);
      return logs;
    };
  }

  // The guess that asks the mean query everywhere: p is softmax of its scores, one for each key.
  const byKey = (scores) => (row, t) => softmax(scores.slice(0, t + 1)).map(Math.log);

  // --- what people see --------------------------------------------------------------------------------------

  // A token as it can be seen: what is white by signs, bytes that are no whole character by their numbers.
  const SIGNS = { " ": "␣", "\n": "⏎", "\t": "⇥" };
  function visible(bytes) {
    try {
      const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      if (!/[^\P{Cc}\n\t]/u.test(text)) return text.replace(/[ \n\t]/g, (white) => SIGNS[white]);
    } catch { /* a part of a character */ }
    return [...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  }

  return { load, probabilities, draw, visibleFrom, effectiveKeys, explained, byOffset, byKey, visible };
})();

Live.provide("gpt", GPT);
