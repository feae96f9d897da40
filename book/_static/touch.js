// Draws the figures that have a slider. What they show is in the page, as JSON: see book/tools/touch.py.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const INK = "#222222";
  const GRID = "#e4e4e4";

  function add(parent, name, attributes = {}, text = "") {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text) element.textContent = text;
    parent.append(element);
    return element;
  }

  // From a number on an axis to a place on the screen, between `from` and `to`.
  function scale(axis, from, to) {
    const of = axis.log ? Math.log10 : (value) => value;
    const [low, high] = [of(axis.low), of(axis.high)];
    return (value) => from + ((of(value) - low) / (high - low)) * (to - from);
  }

  function ticks(axis) {
    if (axis.ticks.length) return axis.ticks;
    const rough = (axis.high - axis.low) / 5;
    const size = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= rough);
    const found = [];
    for (let n = Math.ceil(axis.low / step); n * step <= axis.high + step * 1e-9; n++) found.push(n * step);
    return found;
  }

  function name(axis, value) {
    if (!axis.log || (value >= 0.1 && value <= 100)) return String(parseFloat(value.toPrecision(6)));
    return "10" + [...String(Math.round(Math.log10(value)))].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");
  }

  const drawn = (x, y) => x.map((at, i) => [at, y[i]]).filter((p) => p[0] !== null && p[1] !== null);

  function draw(group, what, x, y, i) {
    group.replaceChildren();
    const xs = i !== null && Array.isArray(what.x[0]) ? what.x[i] : what.x;
    const ys = i === null ? what.y : what.y[i];
    const points = drawn(xs, ys).map(([a, b]) => [x(a).toFixed(1), y(b).toFixed(1)]);
    if (what.kind === "points") {
      for (const [cx, cy] of points) add(group, "circle", { cx, cy, r: what.size, fill: what.colour });
      return;
    }
    if (what.kind === "band") {
      const back = drawn(xs, what.top[i]).map(([a, b]) => [x(a).toFixed(1), y(b).toFixed(1)]).reverse();
      add(group, "polygon", { points: [...points, ...back].join(" "), fill: what.colour, opacity: 0.2 });
      return;
    }
    const look = { fill: "none", stroke: what.colour, "stroke-width": what.thin ? 1.1 : 2, "stroke-linejoin": "round" };
    if (what.dash) look["stroke-dasharray"] = "4 3";
    add(group, "polyline", { points: points.join(" "), ...look });
  }

  // Cells that are touched to go to their place, row by row from above; returns what marks a place.
  function makeMap(svg, map, left, right, top, bottom, go) {
    const columns = map.x.length;
    const [wide, high] = [(right - left) / columns, (bottom - top) / map.y.length];
    map.colours.forEach((fill, i) => {
      const [x, y] = [left + (i % columns) * wide, top + Math.floor(i / columns) * high];
      const cell = add(svg, "g", { cursor: "pointer" });
      add(cell, "rect", { x, y, width: wide, height: high, fill, stroke: "#ffffff" });
      add(cell, "text", { x: x + wide / 2, y: y + high / 2 + 4, "text-anchor": "middle", fill: map.ink[i] }, map.says[i]);
      cell.addEventListener("click", () => go(i));
    });
    map.x.forEach((text, i) =>
      add(svg, "text", { x: left + (i + 0.5) * wide, y: bottom + 16, "text-anchor": "middle" }, text));
    map.y.forEach((text, i) =>
      add(svg, "text", { x: left - 5, y: top + (i + 0.5) * high + 4, "text-anchor": "end" }, text));
    const frame = add(svg, "rect", { width: wide, height: high, fill: "none", stroke: INK, "stroke-width": 3 });
    return (i) => {
      frame.setAttribute("x", left + (i % columns) * wide);
      frame.setAttribute("y", top + Math.floor(i / columns) * high);
    };
  }

  function makePanel(parent, panel, number, go) {
    const box = document.createElement("div");
    box.className = "panel";
    parent.append(box);
    const [width, height] = panel.square ? [300, 310] : [330, 290];
    const [left, right, top, bottom] = [panel.map ? 60 : 48, width - 14, 26, height - 42];
    const svg = add(box, "svg", { viewBox: `0 0 ${width} ${height}` });
    const [x, y] = panel.map ? [] : [scale(panel.x, left, right), scale(panel.y, bottom, top)];
    add(svg, "text", { x: left, y: 16, "font-weight": 600 }, panel.title);

    let picture = null;
    if (panel.sprite) {
      const { source, width: w, height: h, frames } = panel.sprite;
      const look = { x: left, y: top, width: right - left, height: bottom - top, preserveAspectRatio: "none" };
      const window = add(svg, "svg", look);
      add(window, "image", { href: source, width: w, height: h * frames });
      picture = (i) => window.setAttribute("viewBox", `0 ${i * h} ${w} ${h}`);
    }
    for (const value of panel.map ? [] : ticks(panel.x)) {
      if (!panel.sprite) add(svg, "line", { x1: x(value), x2: x(value), y1: top, y2: bottom, stroke: GRID });
      add(svg, "text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, name(panel.x, value));
    }
    for (const value of panel.map ? [] : ticks(panel.y)) {
      if (!panel.sprite) add(svg, "line", { x1: left, x2: right, y1: y(value), y2: y(value), stroke: GRID });
      add(svg, "text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, name(panel.y, value));
    }
    add(svg, "path", { d: `M${left} ${top}V${bottom}H${right}`, fill: "none", stroke: INK });
    const middle = (top + bottom) / 2;
    add(svg, "text", { x: (left + right) / 2, y: height - 8, "text-anchor": "middle" }, panel.x.label);
    add(svg, "text", { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, panel.y.label);

    if (panel.map) return makeMap(svg, panel.map, left, right, top, bottom, go);

    // What runs off the axes is cut there.
    const clip = `clip-${parent.parentElement.id}-${number}`;
    const shape = add(add(svg, "clipPath", { id: clip }), "rect", { x: left, y: top - 3 });
    shape.setAttribute("width", right - left + 3);
    shape.setAttribute("height", bottom - top + 3);
    const inside = add(svg, "g", { "clip-path": `url(#${clip})` });
    for (const what of panel.still || []) draw(add(inside, "g"), what, x, y, null);
    const moving = (panel.moving || []).map((what) => [add(inside, "g"), what]);

    const labelled = [...(panel.still || []), ...(panel.moving || [])].filter((what) => what.label);
    const legend = document.createElement("p");
    for (const what of labelled) {
      const entry = document.createElement("span");
      const mark = document.createElement("i");
      mark.className = what.kind;
      mark.style.background = what.colour;
      entry.append(mark, what.label);
      legend.append(entry);
    }
    if (labelled.length) box.append(legend);

    return (i) => {
      if (picture) picture(i);
      for (const [group, what] of moving) draw(group, what, x, y, i);
    };
  }

  function start(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const panels = figure.querySelector(".panels");
    const slider = figure.querySelector("input");
    panels.setAttribute("role", "img");
    panels.setAttribute("aria-label", data.alt);
    const button = figure.querySelector("button");
    const go = (i) => {
      slider.value = i;
      show();
    };
    const parts = data.panels.map((panel, number) => makePanel(panels, panel, number, go));
    const show = () => {
      const i = Number(slider.value);
      parts.forEach((part) => part(i));
      slider.setAttribute("aria-valuetext", data.places[i]);
      figure.querySelector("b").textContent = data.places[i];
      figure.querySelector("figcaption").textContent = data.said[i];
    };
    slider.addEventListener("input", show);

    // From here to the end, or from the beginning if this is the end, in some eight seconds.
    let playing = null;
    const stop = () => {
      clearInterval(playing);
      playing = null;
      button.textContent = "Play";
      button.setAttribute("aria-pressed", "false");
    };
    const next = () => (Number(slider.value) < Number(slider.max) ? go(Number(slider.value) + 1) : stop());
    button?.addEventListener("click", () => {
      if (playing) return stop();
      if (slider.value === slider.max) go(0);
      playing = setInterval(next, 8000 / data.places.length);
      button.textContent = "Stop";
      button.setAttribute("aria-pressed", "true");
    });

    // On a map the arrow keys go where they point.
    const columns = data.panels.find((panel) => panel.map)?.map.x.length;
    const steps = { ArrowUp: -columns, ArrowDown: columns };
    if (columns) slider.addEventListener("keydown", (event) => {
      const to = Number(slider.value) + steps[event.key];
      if (!(event.key in steps)) return;
      event.preventDefault();
      if (to >= 0 && to <= Number(slider.max)) go(to);
    });

    slider.value = data.start; // a browser that reloads a page would keep the old place
    show();
  }

  document.querySelectorAll("figure.touch:not(.live)").forEach(start);
})();
