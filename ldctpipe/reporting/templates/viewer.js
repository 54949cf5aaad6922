"use strict";
// Slice viewer: unpacks the HU that reporting/viewer.py packed, and windows them on canvases.
(() => {
  const WINDOWS = [["Soft tissue", -160, 240], ["Lung", -1350, 150], ["Bone", -500, 1500], ["Liver", -15, 125], ["Full range", -1000, 2000]];
  const MODES = [["low_dose", "Low dose"], ["denoised", "Denoised"], ["full_dose", "Full dose"], ["difference", "Difference"]];
  const DIFFERENCE_HU = 100, LENS_PIXELS = 48;
  const byId = (id) => document.getElementById(id);
  const data = byId("viewer-data");
  if (!data || typeof DecompressionStream === "undefined") return; // the plates below show the same slices

  const samples = JSON.parse(data.textContent);
  const main = byId("viewer-main"), status = byId("viewer-status"), wipe = byId("viewer-wipe");
  const state = { sample: 0, window: 0, mode: "denoised", before: "denoised", at: null };
  const unpacked = new Map();
  const lenses = [];

  async function unpack(text, rows, columns) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer());
    const size = rows * columns, hu = new Int16Array(size);
    for (let row = 0, i = 0; row < rows; row++) {
      for (let column = 0, value = 0; column < columns; column++, i++) {
        const zigzag = planes[i] | (planes[size + i] << 8);
        value += (zigzag >>> 1) ^ -(zigzag & 1);
        hu[i] = value;
      }
    }
    return hu;
  }

  async function images() {
    const number = state.sample;
    if (!unpacked.has(number)) {
      const { rows, columns, images } = samples[number];
      const found = {};
      for (const [role, text] of Object.entries(images)) found[role] = await unpack(text, rows, columns);
      found.difference = found.denoised.map((hu, i) => hu - found.full_dose[i]);
      unpacked.set(number, found);
    }
    return unpacked.get(number);
  }

  function range(mode) {
    return mode === "difference" ? [-DIFFERENCE_HU, DIFFERENCE_HU] : WINDOWS[state.window].slice(1);
  }

  function paint(canvas, found, box, modeAt) {
    const { columns } = samples[state.sample];
    canvas.width = box.width;
    canvas.height = box.height;
    const picture = canvas.getContext("2d").createImageData(box.width, box.height);
    for (let y = 0, o = 0; y < box.height; y++) {
      for (let x = 0; x < box.width; x++, o += 4) {
        const mode = modeAt(x);
        const [low, high] = range(mode);
        const grey = (255 * (found[mode][(box.top + y) * columns + box.left + x] - low)) / (high - low);
        picture.data[o] = picture.data[o + 1] = picture.data[o + 2] = grey; // clamped by the array
        picture.data[o + 3] = 255;
      }
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  function lensBox() {
    const { rows, columns } = samples[state.sample];
    const side = Math.min(LENS_PIXELS, rows, columns);
    const [x, y] = state.at ?? [columns / 2, rows / 2];
    const fit = (centre, length) => Math.round(Math.min(Math.max(centre - side / 2, 0), length - side));
    return { top: fit(y, rows), left: fit(x, columns), width: side, height: side };
  }

  async function draw() {
    const shown = state.sample, found = await images();
    if (shown !== state.sample) return; // another slice was chosen while this one was unpacked
    const { rows, columns, label } = samples[shown];
    const edge = (wipe.value / 100) * columns;
    paint(main, found, { top: 0, left: 0, width: columns, height: rows }, (x) => (x < edge ? "low_dose" : state.mode));
    const box = lensBox(), context = main.getContext("2d");
    context.strokeStyle = "#f2c230";
    context.strokeRect(box.left + 0.5, box.top + 0.5, box.width, box.height);
    if (edge > 0 && edge < columns) {
      context.fillStyle = "#f2c230";
      context.fillRect(edge, 0, 1, rows);
    }
    for (const [role, canvas] of lenses) paint(canvas, found, box, () => role);
    const name = MODES.find(([mode]) => mode === state.mode)[1];
    const scale = range(state.mode).join(" to ");
    const centre = (box.top + (box.height >> 1)) * columns + box.left + (box.width >> 1);
    const values = lenses.map(([role]) => found[role][centre]).join(" / ");
    main.setAttribute("aria-label", `${name}, ${label}`);
    status.textContent = `${label}. ${name}, ${scale} HU. Centre of the magnifier: ${values} HU (low dose / denoised / full dose).`;
    for (const button of byId("viewer-modes").children) button.setAttribute("aria-pressed", String(button.value === state.mode));
    byId("viewer-sample").value = String(shown);
    byId("viewer-window").value = String(state.window);
  }

  function change(values) {
    Object.assign(state, values);
    draw();
  }

  function options(select, names, key) {
    names.forEach((name, value) => select.add(new Option(name, value)));
    select.addEventListener("change", () => change({ [key]: Number(select.value) }));
  }

  function point(event) {
    const place = main.getBoundingClientRect(), { rows, columns } = samples[state.sample];
    change({ at: [((event.clientX - place.left) / place.width) * columns, ((event.clientY - place.top) / place.height) * rows] });
  }

  function moveLens(across, down) {
    const box = lensBox();
    change({ at: [box.left + box.width / 2 + 8 * across, box.top + box.height / 2 + 8 * down] });
  }

  function press(event) {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (arrow && event.shiftKey) moveLens(...arrow);
    else if (arrow && arrow[0]) change({ sample: (state.sample + arrow[0] + samples.length) % samples.length, at: null });
    else if ("1234".includes(event.key)) change({ mode: MODES[event.key - 1][0] });
    else if (event.key.toLowerCase() === "w") change({ window: (state.window + 1) % WINDOWS.length });
    else if (event.key === " ") change(state.mode === "low_dose" ? { mode: state.before } : { mode: "low_dose", before: state.mode });
    else return;
    event.preventDefault();
  }

  for (const [mode, name] of MODES) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", value: mode, textContent: name });
    button.addEventListener("click", () => change({ mode }));
    byId("viewer-modes").append(button);
  }
  for (const [role, name] of MODES.slice(0, 3)) {
    const holder = document.createElement("div"), title = document.createElement("p"), canvas = document.createElement("canvas");
    title.textContent = name;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${name}, magnified`);
    holder.append(title, canvas);
    byId("viewer-lenses").append(holder);
    lenses.push([role, canvas]);
  }
  options(byId("viewer-sample"), samples.map((sample) => sample.label), "sample");
  options(byId("viewer-window"), WINDOWS.map(([name, low, high]) => `${name} (${low} to ${high})`), "window");
  wipe.addEventListener("input", draw);
  main.addEventListener("pointermove", point);
  main.addEventListener("keydown", press);
  byId("viewer").hidden = false;
  draw();
})();
