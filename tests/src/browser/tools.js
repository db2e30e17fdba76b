const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** Until the page shows what it has. */
async function ready() {
  while (!document.documentElement.dataset.state) await wait(20);
  // No pointer is really down.
  at("canvas").setPointerCapture = () => {};
}

/** After what was asked for is drawn. */
const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

/** Does something to the canvas as a mouse would, at a place in its own pixels. */
function mouse(type, x, y, more = {}) {
  const canvas = at("canvas");
  const { left, top } = canvas.getBoundingClientRect();
  const Kind = type === "wheel" ? WheelEvent : type === "dblclick" ? MouseEvent : PointerEvent;
  const place = { clientX: left + x, clientY: top + y, bubbles: true, cancelable: true };
  canvas.dispatchEvent(new Kind(type, { ...place, pointerId: 1, button: 0, ...more }));
}

function press(key, where = at("canvas"), more = {}) {
  where.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
}

function type(text) {
  at("search").value = text;
  at("search").dispatchEvent(new Event("input", { bubbles: true }));
}

/** The middle of what is drawn of a row, in pixels of the canvas. */
function middle(row) {
  const { layout, view, painter } = timeline;
  const k = layout.rows.indexOf(row);
  const x = (layout.left[k] + layout.right[k]) / 2;
  const y = (layout.top[k] + layout.bottom[k]) / 2;
  return [
    MARGIN.left + ((x - view.left) / (view.right - view.left)) * painter.width,
    TOP + ((y - view.top) / (view.bottom - view.top)) * painter.height,
  ];
}

/** The colour of the canvas itself at one of its places, as CSS writes it. */
function pixel(x, y) {
  const { scale } = timeline.painter;
  const [r, g, b] = at("canvas").getContext("2d").getImageData(x * scale, y * scale, 1, 1).data;
  return `#${[r, g, b].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}
