// A hundred oscillators, U = q²/2, computed here, in the page: under a word of A, B and O that the reader chooses, and
// with noise in the force, at a fixed friction and with the thermostat of Adaptive Langevin; one of them under a chain of
// thermostats; and particles in a double well that are annealed or quenched.
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

  function words(figure) {
    const chosen = (name) => figure.querySelector(`[name=${name}]`);
    const now = () => ({
      word: chosen("word").value,
      h: Number(chosen("h").value),
      gamma: 10 ** Number(chosen("gamma").value),
      tau: 10 ** Number(chosen("tau").value),
    });
    const [plane, gauge] = figure.querySelectorAll("svg");
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

    run(figure, begin, () => advance(2));
  }

  // Noise of standard deviation σ in the force; τ = 1. BAOAB at the friction γ, and BAFEFAB with the additive noise that
  // needs this friction by itself.
  function noise(figure) {
    const [EPSILON, STEPS, TOP] = [0.1, 600, 3]; // the coupling; steps that are seen; highest friction that is drawn
    const chosen = (name) => Number(figure.querySelector(`[name=${name}]`).value);
    const now = () => ({ sigma: chosen("sigma"), h: chosen("h"), gamma: chosen("gamma") });
    const [gauge, trace] = figure.querySelectorAll("svg");
    const caption = figure.querySelector("figcaption");

    const height = (value, top) => SIZE - 30 - (Math.min(value, top) / top) * (SIZE - 75);
    const scale = (svg, values, top, title) => {
      for (const value of values) {
        add(svg, "line", { x1: 40, x2: SIZE, y1: height(value, top), y2: height(value, top), stroke: GRID });
        add(svg, "text", { x: 34, y: height(value, top) + 4, "text-anchor": "end" }, String(value));
      }
      add(svg, "text", { x: 40, y: 14 }, title);
    };
    scale(gauge, [0, 1, 2, 3, 4], 4, "temperature of positions / τ");
    scale(trace, [0, 1, 2, 3], TOP, "friction over the last 600 steps");
    const bars = [ORANGE, BLUE].map((fill, i) => add(gauge, "rect", { x: 70 + 120 * i, width: 70, fill, opacity: 0.75 }));
    const marks = [0, 1].map((i) => add(gauge, "line", { x1: 60 + 120 * i, x2: 150 + 120 * i, stroke: INK, "stroke-width": 3 }));
    const labels = [0, 1].map((i) => add(gauge, "text", { x: 105 + 120 * i, "text-anchor": "middle" }));
    ["fixed friction", "thermostat"].forEach((name, i) => add(gauge, "text", { x: 105 + 120 * i, y: SIZE - 8, "text-anchor": "middle" }, name));
    const [fixed, law] = [ORANGE, INK].map((stroke, i) => add(trace, "line", { x1: 40, x2: SIZE, stroke, "stroke-width": 2, ...(i && { "stroke-dasharray": "6 4" }) }));
    const line = add(trace, "polyline", { fill: "none", stroke: BLUE, "stroke-width": 1.5 });
    add(trace, "text", { x: 40, y: SIZE - 8 }, "dashed: predicted");

    let [normal, q, p, xi, read, frictions] = [];
    function begin() {
      const { sigma, h, gamma } = now();
      normal = normals(1);
      [q, p] = [0, 1].map(() => [0, 1].map(() => Array.from({ length: COUNT }, normal)));
      [xi, read, frictions] = [gamma / EPSILON, [], []];
      figure.querySelectorAll("output").forEach((output) => (output.textContent = now()[output.dataset.of].toFixed(2)));
      const c = Math.exp(-gamma * h);
      const hot = 1 + (h * h * sigma * sigma * (1 + c)) / ((1 - c) * (4 - h * h));
      const found = gamma + (h * sigma * sigma) / 2;
      [hot, 1].forEach((value, i) => ["y1", "y2"].forEach((y) => marks[i].setAttribute(y, height(value, 4).toFixed(1))));
      marks[0].setAttribute("visibility", hot > 4 ? "hidden" : "visible");
      [gamma, found].forEach((value, i) => ["y1", "y2"].forEach((y) => [fixed, law][i].setAttribute(y, height(value, TOP).toFixed(1))));
      const kept = found * h > 0.4 ? "keeps τ, but for the error of a large step" : "keeps τ";
      caption.textContent = `Look at the bars. At σ = ${sigma.toFixed(2)} a fixed friction of ${gamma.toFixed(2)} has positions at ${hot.toFixed(2)} τ. The thermostat goes to the friction ${found.toFixed(2)} and ${kept}.`;
      advance(STEPS);
    }

    function advance(steps) {
      const { sigma, h, gamma } = now();
      const c = Math.exp(-gamma * h);
      for (let n = 0; n < steps; n++) {
        for (const k of [0, 1]) for (let i = 0; i < COUNT; i++) q[k][i] += (h / 2) * p[k][i];
        for (let i = 0; i < COUNT; i++) p[0][i] = c * p[0][i] + Math.sqrt(1 - c * c) * normal();
        for (const half of [0, 1]) {
          const g = EPSILON * xi;
          const share = Math.abs(g * h) < 1e-6 ? h : -Math.expm1(-g * h) / g;
          for (let i = 0; i < COUNT; i++) p[1][i] = Math.exp((-g * h) / 2) * p[1][i] + Math.sqrt(gamma * share) * normal();
          if (!half) xi += h * EPSILON * (p[1].reduce((sum, v) => sum + v * v, 0) - COUNT);
        }
        for (const k of [0, 1]) {
          for (let i = 0; i < COUNT; i++) {
            q[k][i] += (h / 2) * p[k][i];
            p[k][i] += h * (sigma * normal() - q[k][i]);
          }
        }
        read.push(q.map((all) => all.reduce((sum, v) => sum + v * v, 0) / COUNT));
        frictions.push(EPSILON * xi);
      }
      [read, frictions] = [read.slice(-TAIL), frictions.slice(-STEPS)];
      bars.forEach((bar, i) => {
        const mean = read.reduce((sum, row) => sum + row[i], 0) / read.length;
        bar.setAttribute("y", height(mean, 4).toFixed(1));
        bar.setAttribute("height", (height(0, 4) - height(mean, 4)).toFixed(1));
        labels[i].setAttribute("y", (height(mean, 4) - 8).toFixed(1));
        labels[i].textContent = mean.toFixed(2);
      });
      const points = frictions.map((value, n) => `${(40 + (n * (SIZE - 40)) / STEPS).toFixed(1)},${height(Math.max(value, 0), TOP).toFixed(1)}`);
      line.setAttribute("points", points.join(" "));
    }

    run(figure, begin, () => advance(4));
  }

  // One oscillator at T = 1 under a Nosé-Hoover chain with masses of one, from rest, by the splitting of the library.
  function chain(figure) {
    const [H, LONG, TRAIL, REACH] = [0.1, 40000, 3000, 5]; // step; steps of the averages; steps drawn; half an axis
    const chosen = (name) => Number(figure.querySelector(`[name=${name}]`).value);
    const [plane, gauge] = figure.querySelectorAll("svg");
    const caption = figure.querySelector("figcaption");

    const place = (value) => SIZE / 2 + (Math.max(-REACH, Math.min(REACH, value)) * SIZE) / 2 / REACH;
    add(plane, "line", { x1: 0, x2: SIZE, y1: SIZE / 2, y2: SIZE / 2, stroke: GRID });
    add(plane, "line", { y1: 0, y2: SIZE, x1: SIZE / 2, x2: SIZE / 2, stroke: GRID });
    add(plane, "text", { x: SIZE - 4, y: SIZE / 2 - 5, "text-anchor": "end" }, "q");
    add(plane, "text", { x: SIZE / 2 + 5, y: 12 }, "v");
    const trail = add(plane, "polyline", { fill: "none", stroke: BLUE, "stroke-width": 0.7, opacity: 0.6 });
    const dot = add(plane, "circle", { r: 4, fill: ORANGE });

    const height = (value) => SIZE - 30 - (Math.min(value, 2) / 2) * (SIZE - 75);
    for (const value of [0, 0.5, 1, 1.5, 2]) {
      add(gauge, "line", { x1: 40, x2: SIZE, y1: height(value), y2: height(value), stroke: value === 1 ? INK : GRID });
      add(gauge, "text", { x: 34, y: height(value) + 4, "text-anchor": "end" }, String(value));
    }
    add(gauge, "text", { x: 40, y: 14 }, "means of the path so far; 1 is right");
    const bars = [BLUE, ORANGE].map((fill, i) => add(gauge, "rect", { x: 70 + 120 * i, width: 70, fill, opacity: 0.75 }));
    const labels = [0, 1].map((i) => add(gauge, "text", { x: 105 + 120 * i, "text-anchor": "middle" }));
    ["⟨q²⟩", "⟨v²⟩"].forEach((name, i) => add(gauge, "text", { x: 105 + 120 * i, y: SIZE - 8, "text-anchor": "middle" }, name));

    const fresh = () => ({ q: chosen("start"), v: 0, vs: Array(chosen("links")).fill(0), steps: 0, sums: [0, 0] });
    function step(now) {
      const { vs } = now;
      const pull = (k) => (k ? vs[k - 1] ** 2 : now.v ** 2) - 1;
      const kick = (k, t) => {
        const brake = k + 1 < vs.length ? Math.exp((-t / 2) * vs[k + 1]) : 1;
        vs[k] = (vs[k] * brake + t * pull(k)) * brake;
      };
      const outer = () => {
        now.q += (H / 2) * now.v;
        for (let k = 0; k < vs.length; k += 2) kick(k, H / 2);
      };
      outer();
      const brake = Math.exp((-H / 2) * vs[0]);
      now.v = (now.v * brake - H * now.q) * brake;
      for (let k = 1; k < vs.length; k += 2) kick(k, H);
      outer();
      now.steps += 1;
      now.sums = [now.sums[0] + now.q ** 2, now.sums[1] + now.v ** 2];
    }

    let [now, points] = [];
    function begin() {
      const links = chosen("links");
      figure.querySelectorAll("output").forEach((output) => (output.textContent = String(chosen(output.dataset.of))));
      const far = fresh();
      for (let n = 0; n < LONG; n++) step(far);
      const said = far.sums.map((sum) => (sum / LONG).toFixed(2));
      const where = links === 1 ? "leaves parts of the plane empty, and which depends on its start" : "fills the plane, wherever it starts";
      caption.textContent = `Look at the path. With ${links} link${links > 1 ? "s" : ""} it ${where}. After ${LONG.toLocaleString("en")} steps ⟨q²⟩ = ${said[0]} and ⟨v²⟩ = ${said[1]}.`;
      [now, points] = [fresh(), []];
      advance(links === 1 ? TRAIL : TRAIL / 2);
    }

    function advance(steps) {
      for (let n = 0; n < steps; n++) {
        step(now);
        points.push(`${place(now.q).toFixed(1)},${(SIZE - place(now.v)).toFixed(1)}`);
      }
      points = points.slice(-TRAIL);
      trail.setAttribute("points", points.join(" "));
      dot.setAttribute("cx", place(now.q).toFixed(1));
      dot.setAttribute("cy", (SIZE - place(now.v)).toFixed(1));
      bars.forEach((bar, i) => {
        const mean = now.sums[i] / now.steps;
        bar.setAttribute("y", height(mean).toFixed(1));
        bar.setAttribute("height", (height(0) - height(mean)).toFixed(1));
        labels[i].setAttribute("y", (height(mean) - 8).toFixed(1));
        labels[i].textContent = mean.toFixed(2);
      });
    }

    run(figure, begin, () => advance(6));
  }

  // Particles in a tilted double well under the noise of their gradient: CoolMomentum, which cools over the whole run, and
  // a constant momentum that drops to zero in the middle. Both begin at T = 2 and end at a temperature 199 times lower.
  function wells(figure) {
    const [MANY, FRAMES, RATE, RHO, HOT, TOP] = [200, 60, 0.01, 0.99, 2, 0.13]; // TOP: where the barrier is
    const NOISE = Math.sqrt((4 * HOT * (1 - RHO)) / RATE / (1 + RHO));
    const [ground, trace] = figure.querySelectorAll("svg");
    const caption = figure.querySelector("figcaption");
    const control = figure.querySelector("[name=steps]");
    const energy = (q) => (q * q - 1) ** 2 + q / 2;
    const slope = (q) => 4 * q * (q * q - 1) + 0.5;

    const across = (q) => SIZE / 2 + (Math.max(-2, Math.min(2, q)) * SIZE) / 4;
    const up = (q, upper) => SIZE - 40 - (upper ? 140 : 0) - Math.min(energy(q), 2.6) * 38;
    const names = ["CoolMomentum", "quenched halfway"];
    names.forEach((name, upper) => {
      const points = Array.from({ length: 121 }, (_, i) => -1.75 + (i * 3.5) / 120);
      const path = points.map((q) => `${across(q).toFixed(1)},${up(q, upper).toFixed(1)}`);
      add(ground, "polyline", { points: path.join(" "), fill: "none", stroke: "#777777" });
      add(ground, "text", { x: SIZE / 2, y: up(0, upper) - 62, "text-anchor": "middle" }, name);
    });
    const dots = [BLUE, ORANGE].map((fill) => Array.from({ length: MANY }, () => add(ground, "circle", { r: 2.6, fill, opacity: 0.6 })));

    const height = (share) => SIZE - 40 - Math.max(0, share - 0.4) * 350;
    const along = (frame) => 40 + (frame * (SIZE - 45)) / FRAMES;
    for (const value of [0.4, 0.6, 0.8, 1]) {
      add(trace, "line", { x1: 40, x2: SIZE, y1: height(value), y2: height(value), stroke: GRID });
      add(trace, "text", { x: 34, y: height(value) + 4, "text-anchor": "end" }, String(value));
    }
    add(trace, "text", { x: 4, y: 14 }, "share in the deeper well; dashed: Gibbs");
    add(trace, "text", { x: SIZE, y: SIZE - 22, "text-anchor": "end" }, "steps");
    const lines = [BLUE, ORANGE, INK].map((stroke, i) => add(trace, "polyline", { fill: "none", stroke, "stroke-width": 1.7, ...(i === 2 && { "stroke-dasharray": "6 4" }) }));
    const now = add(trace, "line", { y1: height(0.4), y2: height(1), stroke: "#999999" });
    const last = add(trace, "text", { x: SIZE, y: SIZE - 6, "text-anchor": "end" });

    function gibbs(temperature) {
      let [left, all] = [0, 0];
      for (let q = -3; q < 3; q += 0.01) {
        const weight = Math.exp(-(energy(q) + 0.52) / temperature);
        all += weight;
        if (q < TOP) left += weight;
      }
      return left / all;
    }

    let [frames, shares, at] = [];
    function begin() {
      const steps = Math.round(10 ** Number(control.value));
      figure.querySelector("output").textContent = steps.toLocaleString("en");
      const normal = normals(1);
      const q = [0, 1].map(() => Array.from({ length: MANY }, (_, i) => -1.5 + (3 * (i + 0.5)) / MANY));
      const p = [0, 1].map(() => Array(MANY).fill(0));
      [frames, shares] = [[], []];
      for (let n = 0; n <= steps; n++) {
        const rho = [1 - (1 - RHO) ** (1 - n / steps), 2 * n < steps ? RHO : 0];
        while (frames.length <= (n * FRAMES) / steps) {
          frames.push(q.map((all) => [...all]));
          const found = q.map((all) => all.filter((place) => place < TOP).length / MANY);
          shares.push([...found, gibbs((RATE * NOISE ** 2 * (1 + rho[0])) / (1 - rho[0]) / 4)]);
        }
        for (const k of [0, 1]) {
          for (let i = 0; i < MANY; i++) {
            p[k][i] = rho[k] * p[k][i] - ((1 + rho[k]) / 2) * RATE * (slope(q[k][i]) + NOISE * normal());
            q[k][i] += p[k][i];
          }
        }
      }
      lines.forEach((line, k) => line.setAttribute("points", shares.map((row, i) => `${along(i).toFixed(1)},${height(row[k]).toFixed(1)}`).join(" ")));
      last.textContent = steps.toLocaleString("en");
      const [cooled, quenched] = shares[FRAMES].map((share) => Math.round(100 * share));
      caption.textContent = `Look at the two lines. After ${steps.toLocaleString("en")} steps CoolMomentum has ${cooled} % of its particles in the deeper well, and quenching ${quenched} %.`;
      at = FRAMES;
      show();
    }

    function show() {
      dots.forEach((some, k) => some.forEach((dot, i) => {
        dot.setAttribute("cx", across(frames[at][k][i]).toFixed(1));
        dot.setAttribute("cy", up(frames[at][k][i], k).toFixed(1));
      }));
      for (const x of ["x1", "x2"]) now.setAttribute(x, along(at).toFixed(1));
    }

    run(figure, begin, () => {
      at = at < FRAMES ? at + 1 : 0;
      show();
    });
  }

  // Play and pause; a control that is touched begins anew.
  function run(figure, begin, advance) {
    const button = figure.querySelector("button");
    let timer = null;
    button.addEventListener("click", () => {
      clearInterval(timer);
      timer = timer === null ? setInterval(advance, 50) : null;
      button.textContent = timer === null ? "Play" : "Pause";
      button.setAttribute("aria-pressed", String(timer !== null));
    });
    figure.querySelectorAll("input, select").forEach((control) => control.addEventListener("input", begin));
    begin();
  }

  document.querySelectorAll("#live-words").forEach(words);
  document.querySelectorAll("#live-noise").forEach(noise);
  document.querySelectorAll("#live-chain").forEach(chain);
  document.querySelectorAll("#live-wells").forEach(wells);
})();
