/** The mouse, the wheel, and fingers. */
function listenToPointer(timeline) {
  const { canvas, marked } = timeline;
  let press = null;
  const where = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    const [x, y] = where(event);
    press = { x, y, view: { ...timeline.view }, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = where(event);
    marked.cross = false;
    if (press === null) {
      timeline.hover(x, y);
      return;
    }
    press.moved ||= Math.hypot(x - press.x, y - press.y) > 4;
    if (!press.moved) return;
    at("tip").hidden = true;
    if (event.shiftKey) {
      marked.box = { x0: press.x, y0: press.y, x1: x, y1: y };
      timeline.draw();
    } else {
      marked.box = null;
      canvas.classList.add("moving");
      const { left, right, top, bottom } = press.view;
      const dx = ((x - press.x) / timeline.painter.width) * (right - left);
      const dy = ((y - press.y) / timeline.painter.height) * (bottom - top);
      timeline.look(left - dx, right - dx, top - dy, bottom - dy);
    }
  });
  const release = (event) => {
    if (press === null) return;
    const [x, y] = where(event);
    const { box } = marked;
    if (box) {
      const [from, to] = [timeline.place(Math.min(box.x0, box.x1), Math.min(box.y0, box.y1)), timeline.place(Math.max(box.x0, box.x1), Math.max(box.y0, box.y1))];
      timeline.look(from.across, to.across, from.down, to.down);
    } else if (!press.moved && event.type === "pointerup") {
      timeline.select(x, y);
    }
    press = marked.box = null;
    canvas.classList.remove("moving");
    timeline.draw();
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => {
    at("tip").hidden = true;
    marked.hover = -1;
    timeline.draw();
  });
  canvas.addEventListener("dblclick", (event) => {
    const k = timeline.pick(...where(event));
    if (k >= 0) timeline.frameRow(k);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const [x, y] = where(event);
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      // With Shift, some browsers turn the wheel sideways.
      const turn = (event.deltaY || (event.shiftKey ? event.deltaX : 0)) * lines;
      if (turn !== 0) timeline.zoom(1.0018 ** -turn, event.shiftKey, x, y);
      else timeline.pan((event.deltaX * lines) / timeline.painter.width, 0);
      timeline.hover(x, y);
    },
    { passive: false },
  );
}

/** The keys: those of the picture, and those that work anywhere but where one types. */
function listenToKeys(timeline) {
  const { canvas, marked } = timeline;
  const middle = () => [MARGIN.left + timeline.painter.width / 2, TOP + timeline.painter.height / 2];
  const onCanvas = {
    ArrowLeft: () => timeline.pan(-0.1, 0),
    ArrowRight: () => timeline.pan(0.1, 0),
    ArrowUp: () => timeline.pan(0, -0.1),
    ArrowDown: () => timeline.pan(0, 0.1),
    "+": (shift) => timeline.zoom(1.4, shift, ...middle()),
    "-": (shift) => timeline.zoom(1 / 1.4, shift, ...middle()),
    Enter: () => timeline.select(...middle()),
    z: () => {
      const k = marked.selected >= 0 ? marked.selected : timeline.pick(...middle());
      if (k >= 0) timeline.frameRow(k);
    },
  };
  // With Shift, on the keyboards that need it for the plus and on those that do not.
  const same = { "=": "+", "*": "+", _: "-", Z: "z" };
  canvas.addEventListener("keydown", (event) => {
    const action = onCanvas[event.code === "Equal" ? "+" : (same[event.key] ?? event.key)];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    marked.cross = true;
    at("tip").hidden = true;
    action(event.shiftKey);
    timeline.draw();
  });
  const anywhere = {
    "/": () => at("search").focus(),
    n: () => timeline.step(1),
    N: () => timeline.step(-1),
    e: () => timeline.pace(),
    0: () => timeline.whole(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      timeline.clear();
      canvas.focus();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    const action = anywhere[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
