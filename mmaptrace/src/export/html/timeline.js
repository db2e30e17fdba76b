/** The page: what is shown of the data, and what changes that. */
class Timeline {
  constructor(data) {
    this.data = data;
    this.canvas = at("canvas");
    this.painter = new Painter(this.canvas);
    this.even = false;
    this.marked = { rows: null, address: null, selected: -1, hover: -1, cross: false, box: null };
    this.found = [];
    this.match = -1;
    chooseProcess(this);
    drawLegend(this);
    listenToControls(this);
    listenToPointer(this);
    listenToKeys(this);
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    const busiest = data.spaces.reduce((best, space, i) => (space.changes > data.spaces[best].changes ? i : best), 0);
    this.open(busiest);
  }

  // What is shown.

  /** Shows a space, and searches it. */
  open(space, text = "") {
    this.layout = new Layout(this.data, space, this.even);
    at("process").value = String(space);
    Object.assign(this.marked, { rows: null, address: null, selected: -1, hover: -1 });
    at("found").value = "";
    this.stepping([]);
    this.whole();
    tellSpace(at("story"), this.data, space);
    at("search").value = text;
    if (text !== "") this.search(text);
  }

  whole() {
    const { layout } = this;
    const air = layout.height * 0.01;
    this.view = { left: 0, right: layout.width, top: -air, bottom: layout.height + air };
    this.draw();
  }

  resize() {
    this.painter.resize();
    this.draw(true);
  }

  /** Draws with the next frame, or at once. */
  draw(now = false) {
    const paint = () => {
      this.frame = 0;
      const begin = performance.now();
      this.painter.paint(this.data, this.layout, this.view, this.marked);
      this.cost = performance.now() - begin;
    };
    if (now) paint();
    else this.frame ||= requestAnimationFrame(paint);
  }

  /** Moves the view, and keeps it where there is something. */
  look(left, right, top, bottom) {
    const { layout } = this;
    const keep = (low, high, size, least) => {
      const air = size * 0.01;
      const span = Math.min(Math.max(high - low, least), size + 2 * air);
      const from = Math.min(Math.max((low + high - span) / 2, -air), size + air - span);
      return [from, from + span];
    };
    const [l, r] = keep(left, right, layout.width, layout.even ? 2 : 200);
    const [t, b] = keep(top, bottom, layout.height, 3);
    this.view = { left: l, right: r, top: t, bottom: b };
    this.draw();
  }

  /** Zooms by a factor around a place, in CSS pixels of the canvas. */
  zoom(factor, addresses, x, y) {
    const { left, right, top, bottom } = this.view;
    const { across, down } = this.place(x, y);
    const around = (low, high, middle) => [middle - (middle - low) / factor, middle + (high - middle) / factor];
    if (addresses) this.look(left, right, ...around(top, bottom, down));
    else this.look(...around(left, right, across), top, bottom);
  }

  pan(across, down) {
    const { left, right, top, bottom } = this.view;
    const [dx, dy] = [across * (right - left), down * (bottom - top)];
    this.look(left + dx, right + dx, top + dy, bottom + dy);
  }

  /** Shows a row of the layout with what is around it. */
  frameRow(k) {
    const { layout } = this;
    const grow = (low, high, size) => {
      const air = Math.max((high - low) * 0.6, size / 1e6);
      return [low - air, high + air];
    };
    const [left, right] = grow(layout.left[k], layout.right[k], layout.width);
    const [top, bottom] = grow(layout.top[k], layout.bottom[k], 1e6 * 8);
    this.look(left, right, top, bottom);
  }

  /** Takes a time into the middle. */
  go(time) {
    const { left, right, top, bottom } = this.view;
    const middle = this.layout.across(time);
    const half = (right - left) / 2;
    this.look(middle - half, middle + half, top, bottom);
  }

  // What is where.

  /** The place in the layout of a place on the canvas. */
  place(x, y) {
    const { left, right, top, bottom } = this.view;
    return {
      across: left + ((x - MARGIN.left) / this.painter.width) * (right - left),
      down: top + ((y - TOP) / this.painter.height) * (bottom - top),
    };
  }

  /** The row of the layout that is drawn there, or within two pixels of there; -1: none. */
  pick(x, y) {
    const { layout, view, painter } = this;
    const { across, down } = this.place(x, y);
    const [perX, perY] = [painter.width / (view.right - view.left), painter.height / (view.bottom - view.top)];
    let [best, nearest] = [-1, 2.5];
    for (let k = 0; k < layout.rows.length; k++) {
      const dx = Math.max(layout.left[k] - across, across - layout.right[k], 0) * perX;
      const dy = Math.max(layout.top[k] - down, down - layout.bottom[k], 0) * perY;
      const distance = Math.max(dx, dy);
      if (distance < nearest || (distance === 0 && nearest === 0)) [best, nearest] = [k, distance];
    }
    return best;
  }

  /** Tells the story of the page that is drawn there. */
  select(x, y) {
    const k = this.pick(x, y);
    const { layout } = this;
    if (k < 0) {
      this.clear();
      return;
    }
    const row = layout.rows[k];
    const { start, end } = this.data.pasts;
    const address = Math.min(Math.max(layout.addressAt(this.place(x, y).down), start[row]), end[row] - PAGE);
    Object.assign(this.marked, { selected: k, address });
    tellStory(at("story"), this.data, layout.space, address, row, (time) => this.go(time));
    this.draw();
  }

  clear() {
    Object.assign(this.marked, { rows: null, address: null, selected: -1 });
    at("search").value = "";
    at("found").value = "";
    this.stepping([]);
    tellSpace(at("story"), this.data, this.layout.space);
    this.draw();
  }

  hover(x, y) {
    const show = this.tipAt(x, y);
    const box = at("tip");
    box.hidden = show === null;
    if (show !== null) {
      box.replaceChildren(...show);
      const [right, bottom] = [this.canvas.clientWidth - box.offsetWidth - 8, this.canvas.clientHeight - box.offsetHeight - 8];
      const left = x + 16 > right ? Math.max(x - box.offsetWidth - 12, 4) : x + 16;
      box.style.transform = `translate(${left}px, ${Math.max(Math.min(y + 16, bottom), 4)}px)`;
    }
    this.draw();
  }

  /** What to say of a place: of a mark, or of a region. */
  tipAt(x, y) {
    this.marked.hover = -1;
    if (x < MARGIN.left || x > MARGIN.left + this.painter.width) return null;
    if (y < TOP && y > TOP - MARGIN.marks - 2) {
      const [left, right] = [x - 4, x + 4].map((edge) => this.place(edge, y).across);
      const close = this.layout.marksBetween(left, right);
      if (close.length === 0) return null;
      const told = close.slice(0, 5).map((mark) => {
        const by = mark.task === null ? "" : `${who(this.data, mark.task)}: `;
        return element("div", {}, `${by}${this.data.texts[mark.text]}, at ${span(mark.time)}`);
      });
      if (close.length > 5) told.push(element("div", { className: "faint" }, `and ${close.length - 5} more here`));
      return told;
    }
    if (y < TOP) return null;
    const k = this.pick(x, y);
    this.marked.hover = k;
    return k < 0 ? null : tip(this.data, this.layout.rows[k]);
  }

  // Searching.

  search(text) {
    text = text.trim();
    if (text === "") {
      this.clear();
      return;
    }
    Object.assign(this.marked, { rows: null, address: null, selected: -1 });
    const address = parseAddress(text);
    if (address === null) {
      this.stepping(matches(this.data, this.layout, text));
      this.marked.rows = new Set(this.found);
      const count = this.found.length;
      at("found").value = count === 0 ? "nothing" : `${count.toLocaleString("en")} match${count === 1 ? "" : "es"}`;
      tellMatches(at("story"), this.data, text, this.found, (match) => this.step(match - this.match));
    } else {
      this.stepping([]);
      this.marked.address = address;
      const found = story(this.data, this.layout.space, address).length > 0;
      at("found").value = found ? "found" : "never mapped";
      if (found) tellStory(at("story"), this.data, this.layout.space, address, -1, (time) => this.go(time));
      else tellElsewhere(at("story"), this.data, address, (space) => this.open(space, text));
      const { left, right, top, bottom } = this.view;
      const [middle, half] = [this.layout.down(address), Math.min((bottom - top) / 2, this.layout.height / 12)];
      this.look(left, right, middle - half, middle + half);
    }
    this.draw();
  }

  stepping(found) {
    this.found = found;
    this.match = -1;
    at("previous").disabled = at("next").disabled = found.length === 0;
  }

  /** Goes some matches on, or back. */
  step(by) {
    const count = this.found.length;
    if (count === 0) return;
    this.match = (((this.match < 0 && by < 0 ? 0 : this.match) + by) % count + count) % count;
    const k = this.layout.rows.indexOf(this.found[this.match]);
    at("found").value = `${this.match + 1} of ${count.toLocaleString("en")}`;
    at("story").querySelectorAll(".match").forEach((item, i) => {
      item.ariaCurrent = String(i === this.match);
      if (i === this.match) item.scrollIntoView({ block: "nearest" });
    });
    this.marked.selected = k;
    this.frameRow(k);
  }

  // How it is shown.

  pace() {
    this.even = !this.even;
    at("pace").ariaPressed = String(this.even);
    const { left, right, top, bottom } = this.view;
    const times = [left, right].map((x) => this.layout.timeAt(x));
    this.layout = new Layout(this.data, this.layout.space, this.even);
    this.look(...times.map((time) => this.layout.across(time)), top, bottom);
  }

  theme() {
    const { dataset } = document.documentElement;
    dataset.theme = dataset.theme === "dark" ? "light" : "dark";
    this.painter.colours = readColours();
    drawLegend(this);
    this.draw();
  }
}
