/** What the picture has around the plot, in CSS pixels. */
const MARGIN = { left: 118, ruler: 22, chart: 58, marks: 12, bottom: 4, right: 6 };
const TOP = MARGIN.ruler + MARGIN.chart + MARGIN.marks;
/** Labels of regions that are drawn at most. */
const LABELS = 400;

/** Draws a view of a layout. */
class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.colours = readColours();
    this.resize();
  }

  /** Takes on the size of the canvas on the screen. */
  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    this.scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(clientWidth * this.scale));
    this.canvas.height = Math.max(1, Math.round(clientHeight * this.scale));
    this.width = Math.max(1, clientWidth - MARGIN.left - MARGIN.right);
    this.height = Math.max(1, clientHeight - TOP - MARGIN.bottom);
    this.image = new ImageData(
      Math.max(1, Math.round(this.width * this.scale)),
      Math.max(1, Math.round(this.height * this.scale)),
    );
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  paint(data, layout, view, marked) {
    const { context, colours } = this;
    context.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    context.fillStyle = colours.back;
    context.fillRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    const labels = this.plot(data, layout, view, marked.rows);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    this.labels(data, labels);
    this.gaps(layout, view);
    this.addresses(layout, view);
    this.ruler(data, layout, view);
    this.chart(data, layout, view);
    this.marks(layout, view);
    this.cursors(layout, view, marked);
  }

  /** Paints every region, pixel by pixel: they do not overlap, so that this costs as much as there are pixels. */
  plot(data, layout, view, lit) {
    const { pixels, colours } = this;
    const { width, height } = this.image;
    const { pasts } = data;
    pixels.fill(colours.plotPixel);
    const perX = width / (view.right - view.left);
    const perY = height / (view.bottom - view.top);
    const labels = [];
    for (let k = 0; k < layout.rows.length; k++) {
      if (layout.right[k] < view.left || layout.left[k] > view.right) continue;
      if (layout.bottom[k] < view.top || layout.top[k] > view.bottom) continue;
      const x0 = Math.max(0, Math.floor((layout.left[k] - view.left) * perX));
      const y0 = Math.max(0, Math.floor((layout.top[k] - view.top) * perY));
      const x1 = Math.min(width, Math.max(x0 + 1, Math.floor((layout.right[k] - view.left) * perX)));
      const y1 = Math.min(height, Math.max(y0 + 1, Math.floor((layout.bottom[k] - view.top) * perY)));
      const row = layout.rows[k];
      const kind = colours.kinds[pasts.kind[row]];
      const palette = lit === null || lit.has(row) ? kind.lit : kind.dim;
      const look = shade(pasts.perms[row]);
      fill(pixels, width, x0, y0, x1, y1, palette, look, colours);
      if (x1 - x0 > 64 * this.scale && y1 - y0 > 12 * this.scale && labels.length < LABELS) {
        labels.push({ row, x0, y0, x1, y1, ink: look === SHADES.full ? kind.ink : colours.text, dim: palette === kind.dim });
      }
    }
    const [x, y] = [MARGIN.left, TOP].map((at) => Math.round(at * this.scale));
    this.context.putImageData(this.image, x, y);
    return labels;
  }

  labels(data, labels) {
    const { context, scale } = this;
    const { pasts, texts, kinds } = data;
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, TOP, this.width, this.height);
    context.clip();
    for (const { row, x0, y0, x1, y1, ink, dim } of labels) {
      if (dim) continue;
      const name = texts[pasts.name[row]];
      const shown = name ? name.slice(name.lastIndexOf("/") + 1) : kinds[pasts.kind[row]];
      const text = `${shown}  ${permissions(pasts.perms[row])} ${size(pasts.end[row] - pasts.start[row])}`;
      const room = (x1 - x0) / scale - 10;
      context.fillStyle = ink;
      context.fillText(fit(context, text, room), MARGIN.left + x0 / scale + 5, TOP + (y0 + Math.min(y1 - y0, 26 * scale) / 2) / scale + 0.5);
    }
    context.restore();
  }

  x(layout, view, time) {
    return MARGIN.left + ((layout.across(time) - view.left) / (view.right - view.left)) * this.width;
  }

  y(view, down) {
    return TOP + ((down - view.top) / (view.bottom - view.top)) * this.height;
  }

  /** A dashed line where at least a megabyte was left out. */
  gaps(layout, view) {
    const { context, colours } = this;
    context.strokeStyle = colours.faint;
    context.setLineDash([2, 4]);
    context.beginPath();
    for (const band of layout.gaps) {
      const [from, to] = [this.y(view, layout.tops[band]), this.y(view, layout.tops[band + 1])];
      if (layout.edges[band + 1] - layout.edges[band] < 1 << 20 || to - from < 5) continue;
      const y = (from + to) / 2;
      if (y < TOP || y > TOP + this.height) continue;
      context.moveTo(MARGIN.left, Math.round(y) + 0.5);
      context.lineTo(MARGIN.left + this.width, Math.round(y) + 0.5);
    }
    context.stroke();
    context.setLineDash([]);
  }

  /** Addresses of edges, as many as there is room for; those after large gaps first. */
  addresses(layout, view) {
    const { context, colours } = this;
    const { edges, tops } = layout;
    context.font = "11px ui-monospace, monospace";
    context.textAlign = "right";
    const free = new Uint8Array(Math.ceil(this.height) + 32);
    const label = (at) => {
      const y = Math.round(this.y(view, tops[at]));
      if (y < TOP || y > TOP + this.height) return;
      // Where all of it is seen.
      const place = Math.min(Math.max(y - TOP, 5), Math.floor(this.height) - 5);
      if (free.subarray(Math.max(0, place - 7), place + 8).some((taken) => taken)) return;
      free.fill(1, Math.max(0, place - 7), place + 8);
      context.fillStyle = colours.faint;
      context.fillText(hex(edges[at]), MARGIN.left - 8, TOP + place);
      context.fillStyle = colours.line;
      context.fillRect(MARGIN.left - 5, y, 5, 1);
    };
    if (edges.length > 0) label(0);
    const afterGaps = layout.gaps.filter((band) => edges[band + 1] - edges[band] >= 1 << 20);
    afterGaps.forEach((band) => label(band + 1));
    const [from, to] = [lowerBound(tops, view.top), lowerBound(tops, view.bottom)];
    const step = Math.max(1, Math.floor((to - from) / 600));
    for (let at = from; at < to; at += step) label(at);
    context.textAlign = "left";
    context.font = "11px system-ui, sans-serif";
  }

  ruler(data, layout, view) {
    const { context, colours } = this;
    const [from, to] = [view.left, view.right].map((x) => layout.timeAt(x));
    const ticks = layout.even ? evenTicks(layout, view, this.width) : timeTicks(from, to, this.width);
    context.textAlign = "center";
    for (const { time, text } of ticks) {
      const x = Math.round(this.x(layout, view, time)) + 0.5;
      if (x < MARGIN.left || x > MARGIN.left + this.width) continue;
      context.fillStyle = colours.line;
      context.fillRect(x, MARGIN.ruler - 5, 1, 5 + MARGIN.chart + MARGIN.marks);
      context.fillStyle = colours.faint;
      const half = context.measureText(text).width / 2 + 2;
      context.fillText(text, Math.min(Math.max(x, MARGIN.left + half), MARGIN.left + this.width - half), MARGIN.ruler / 2);
    }
    context.textAlign = "right";
    context.fillStyle = colours.faint;
    context.fillText(layout.even ? "time, even steps" : "time", MARGIN.left - 8, MARGIN.ruler / 2);
    context.textAlign = "left";
  }

  /** How much is mapped, as an area, and how many regions there are, as a line. */
  chart(data, layout, view) {
    const { context, colours } = this;
    const { peak, regions } = data.spaces[layout.space];
    const [top, height] = [MARGIN.ruler + 4, MARGIN.chart - 8];
    const bottom = top + height;
    const draw = (column, most, each) => {
      const values = data.deeds[column];
      const y = (value) => bottom - (height * value) / (most || 1);
      let next = lowerBound(layout.changes, layout.timeAt(view.left));
      let value = next > 0 ? values[layout.deeds[next - 1]] : 0;
      const last = Math.min(this.width, this.x(layout, view, layout.end) - MARGIN.left);
      for (let x = 0; x < last; x++) {
        const until = layout.timeAt(view.left + ((x + 1) / this.width) * (view.right - view.left));
        let [low, high] = [value, value];
        for (; next < layout.deeds.length && layout.changes[next] <= until; next++) {
          value = values[layout.deeds[next]];
          [low, high] = [Math.min(low, value), Math.max(high, value)];
        }
        each(MARGIN.left + x, y(high), y(low));
      }
    };
    context.fillStyle = colours.line;
    draw("pages", peak / PAGE, (x, high) => context.fillRect(x, high, 1, bottom - high));
    context.fillStyle = colours.accent;
    draw("regions", regions, (x, high, low) => context.fillRect(x, high, 1, Math.max(low - high, 1.5)));
    context.fillStyle = colours.line;
    context.fillRect(MARGIN.left, bottom, this.width, 1);
    context.textAlign = "right";
    context.fillStyle = colours.faint;
    context.fillText(`mapped, to ${about(peak)}`, MARGIN.left - 8, top + 14);
    context.fillStyle = colours.accent;
    context.fillText(`regions, to ${regions}`, MARGIN.left - 8, top + 31);
    context.textAlign = "left";
  }

  /** A tick for each failed call, task that begins or ends, and doubt. */
  marks(layout, view) {
    const { context, colours } = this;
    const top = MARGIN.ruler + MARGIN.chart;
    const colour = [colours.faint, colours.alarm, colours.alarm];
    const room = [0.5, 1, 1];
    // Thousands may be at one place.
    const drawn = [-1, -1, -1];
    for (const { kind, time } of layout.marksBetween(view.left, view.right)) {
      const x = Math.round(this.x(layout, view, time));
      if (x === drawn[kind]) continue;
      drawn[kind] = x;
      context.fillStyle = colour[kind];
      context.globalAlpha = room[kind];
      context.fillRect(x, top + 2, kind === MARKS.doubt ? 3 : 1, MARGIN.marks - 4);
    }
    context.globalAlpha = 1;
    context.textAlign = "right";
    context.fillStyle = colours.faint;
    context.fillText("failures, tasks", MARGIN.left - 8, top + MARGIN.marks / 2);
    context.textAlign = "left";
  }

  /** What is pointed at, searched for, and selected. */
  cursors(layout, view, { address, selected, cross, box, hover }) {
    const { context, colours } = this;
    const inside = (x, y) => [Math.min(Math.max(x, MARGIN.left), MARGIN.left + this.width), Math.min(Math.max(y, TOP), TOP + this.height)];
    const outline = (k, colour, thick) => {
      const at = (left, top) => inside(MARGIN.left + ((left - view.left) / (view.right - view.left)) * this.width, this.y(view, top));
      const [x0, y0] = at(layout.left[k], layout.top[k]);
      const [x1, y1] = at(layout.right[k], layout.bottom[k]);
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.strokeRect(x0 - 0.5, y0 - 0.5, Math.max(x1 - x0, 2) + 1, Math.max(y1 - y0, 2) + 1);
      context.lineWidth = 1;
    };
    if (address !== null) {
      const y = this.y(view, layout.down(address));
      if (y >= TOP && y <= TOP + this.height) {
        context.fillStyle = colours.accent;
        context.fillRect(MARGIN.left, Math.round(y), this.width, 1);
        context.fillRect(0, Math.round(y) - 8, MARGIN.left - 5, 17);
        context.font = "11px ui-monospace, monospace";
        context.textAlign = "right";
        context.fillStyle = colours.back;
        context.fillText(hex(address), MARGIN.left - 8, Math.round(y) + 1);
        context.textAlign = "left";
      }
    }
    if (hover >= 0) outline(hover, colours.text, 1);
    if (selected >= 0) outline(selected, colours.accent, 2);
    if (cross) {
      const [x, y] = [MARGIN.left + this.width / 2, TOP + this.height / 2];
      context.fillStyle = colours.text;
      context.fillRect(x - 9, y, 19, 1);
      context.fillRect(x, y - 9, 1, 19);
    }
    if (box) {
      const [[x0, y0], [x1, y1]] = [inside(box.x0, box.y0), inside(box.x1, box.y1)];
      context.strokeStyle = colours.accent;
      context.strokeRect(x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0);
    }
  }
}

/** As much of a text as there is room for. */
function fit(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(text.slice(0, middle) + "…").width <= room) low = middle;
    else high = middle - 1;
  }
  return low > 2 ? text.slice(0, low) + "…" : "";
}
