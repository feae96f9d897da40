// A hundred oscillators, U = q²/2, under a word of A, B and O that the reader chooses: computed here, in the page.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const [COUNT, SIZE, TAIL] = [100, 300, 400]; // oscillators; of a panel; steps over which the thermometers average
  const [BLUE, ORANGE, INK, GRID] = ["#0072b2", "#d55e00", "#222222", "#e4e4e4"];

  function add(parent, name, attributes = {}, text = "") {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    parent.append(element);
    return element;
  }

  // The same numbers at every visit: mulberry32, and Box and Muller.
  function normals(seed) {
    const uniform = () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  }

  // A letter that occurs k times in the word lasts h / k.
  const pieces = (word, h) => [...word].map((letter) => [letter, h / word.split(letter).slice(1).length]);

  // Second moments in the stationary state, by pushing them through the word; null where they grow without bound.
  function exact({ word, h, gamma, tau }) {
    let [qq, qp, pp] = [tau, 0, tau];
    for (let n = 0; n < 20000; n++) {
      const before = qq;
      for (const [letter, dt] of pieces(word, h)) {
        if (letter === "A") [qq, qp] = [qq + 2 * dt * qp + dt * dt * pp, qp + dt * pp];
        else if (letter === "B") [pp, qp] = [pp - 2 * dt * qp + dt * dt * qq, qp - dt * qq];
        else {
          const c = Math.exp(-gamma * dt);
          [qp, pp] = [c * qp, c * c * pp + tau * (1 - c * c)];
        }
      }
      if (!(qq < 1e6 * tau)) return null;
      if (n > 50 && Math.abs(qq - before) < 1e-12 * tau) break;
    }
    return [qq / tau, pp / tau];
  }

  function start(figure) {
    const chosen = (name) => figure.querySelector(`[name=${name}]`);
    const now = () => ({
      word: chosen("word").value,
      h: Number(chosen("h").value),
      gamma: 10 ** Number(chosen("gamma").value),
      tau: 10 ** Number(chosen("tau").value),
    });
    const [plane, gauge] = figure.querySelectorAll("svg");
    const button = figure.querySelector("button");
    const caption = figure.querySelector("figcaption");

    const place = (value) => SIZE / 2 + (value * SIZE) / 9; // in units of the root of the temperature
    add(plane, "line", { x1: 0, x2: SIZE, y1: SIZE / 2, y2: SIZE / 2, stroke: GRID });
    add(plane, "line", { y1: 0, y2: SIZE, x1: SIZE / 2, x2: SIZE / 2, stroke: GRID });
    for (const r of [1, 2]) add(plane, "circle", { cx: SIZE / 2, cy: SIZE / 2, r: (r * SIZE) / 9, fill: "none", stroke: GRID });
    add(plane, "text", { x: SIZE - 4, y: SIZE / 2 - 5, "text-anchor": "end" }, "q / √τ");
    add(plane, "text", { x: SIZE / 2 + 5, y: 12 }, "p / √τ");
    const dots = Array.from({ length: COUNT }, () => add(plane, "circle", { r: 2.6, fill: BLUE, opacity: 0.7 }));

    const height = (value) => SIZE - 30 - (Math.min(value, 2) / 2) * (SIZE - 60);
    for (const value of [0, 0.5, 1, 1.5, 2]) {
      add(gauge, "line", { x1: 40, x2: SIZE, y1: height(value), y2: height(value), stroke: value === 1 ? INK : GRID });
      add(gauge, "text", { x: 34, y: height(value) + 4, "text-anchor": "end" }, String(value));
    }
    add(gauge, "text", { x: 40, y: 14 }, "temperature / τ: bars measured, lines exact");
    const bars = [BLUE, ORANGE].map((fill, i) => add(gauge, "rect", { x: 70 + 120 * i, width: 70, fill, opacity: 0.75 }));
    const marks = [0, 1].map((i) => add(gauge, "line", { x1: 60 + 120 * i, x2: 150 + 120 * i, stroke: INK, "stroke-width": 3 }));
    ["positions", "momenta"].forEach((name, i) => add(gauge, "text", { x: 105 + 120 * i, y: SIZE - 8, "text-anchor": "middle" }, name));

    let [normal, q, p, read, law] = [];
    function begin() {
      const { word, h, gamma, tau } = now();
      law = exact(now());
      normal = normals(1);
      [q, p] = [0, 1].map(() => Array.from({ length: COUNT }, () => Math.sqrt(tau) * normal()));
      read = [];
      figure.querySelectorAll("output").forEach((output) => {
        const value = { h, gamma, tau }[output.dataset.of];
        output.textContent = value >= 0.1 ? value.toFixed(2) : value.toPrecision(1);
      });
      const say = law ? `positions at ${law[0].toFixed(2)} τ and momenta at ${law[1].toFixed(2)} τ` : "no stationary state: it is unstable";
      caption.textContent = `Look at the blue bar. At h = ${h.toFixed(2)} and γ = ${gamma.toPrecision(2)}, ${word} has ${say}.`;
      marks.forEach((mark, i) => {
        mark.setAttribute("visibility", law ? "visible" : "hidden");
        if (law) ["y1", "y2"].forEach((y) => mark.setAttribute(y, height(law[i]).toFixed(1)));
      });
      advance(20);
    }

    function advance(steps) {
      const { word, h, gamma, tau } = now();
      const parts = pieces(word, h).map(([letter, dt]) => {
        const c = Math.exp(-gamma * dt);
        return [letter, dt, c, Math.sqrt(tau * (1 - c * c))];
      });
      for (let n = 0; n < steps; n++) {
        for (let i = 0; i < COUNT; i++) {
          for (const [letter, dt, c, spread] of parts) {
            if (letter === "A") q[i] += dt * p[i];
            else if (letter === "B") p[i] -= dt * q[i];
            else p[i] = c * p[i] + spread * normal();
          }
          q[i] = Math.max(-1e9, Math.min(1e9, q[i])); // an unstable word
          p[i] = Math.max(-1e9, Math.min(1e9, p[i]));
        }
        read.push([q, p].map((all) => all.reduce((sum, v) => sum + v * v, 0) / COUNT / tau));
      }
      read = read.slice(-TAIL);
      dots.forEach((dot, i) => {
        dot.setAttribute("cx", place(Math.max(-9, Math.min(9, q[i] / Math.sqrt(tau)))).toFixed(1));
        dot.setAttribute("cy", (SIZE - place(Math.max(-9, Math.min(9, p[i] / Math.sqrt(tau))))).toFixed(1));
      });
      bars.forEach((bar, i) => {
        const mean = read.reduce((sum, row) => sum + row[i], 0) / read.length;
        bar.setAttribute("y", height(mean).toFixed(1));
        bar.setAttribute("height", (height(0) - height(mean)).toFixed(1));
      });
    }

    let timer = null;
    function play(on) {
      clearInterval(timer);
      timer = on ? setInterval(() => advance(2), 50) : null;
      button.textContent = on ? "Pause" : "Play";
      button.setAttribute("aria-pressed", String(on));
    }
    button.addEventListener("click", () => play(timer === null));
    figure.querySelectorAll("input, select").forEach((control) => control.addEventListener("input", begin));
    begin();
  }

  document.querySelectorAll("figure.live").forEach(start);
})();
