/** How tall a gap of any size is at most: as tall as this many pages that were mapped. */
const GAP = 12;
/** Below 1, so that a page can be seen beside a gigabyte. */
const SQUEEZE = 0.4;

/**
 * Where the pages of one space are drawn.
 *
 * Down: addresses, in bands between neighbouring edges of any region there ever was. A band that
 * was mapped is as tall as its size to the power of SQUEEZE, less where many of a kind are
 * neighbours; a gap is no taller than GAP allows.
 * Across: the time, or, with even steps, the number of changes up to it.
 */
class Layout {
  constructor(data, space, even) {
    const { pasts, deeds } = data;
    this.space = space;
    const rows = [];
    for (let i = 0; i < pasts.length; i++) if (pasts.space[i] === space) rows.push(i);
    const own = [];
    for (let i = 0; i < deeds.space.length; i++) if (deeds.space[i] === space) own.push(i);
    this.deeds = own;
    this.changes = Float64Array.from(own, (i) => deeds.time[i]);
    this.times = Float64Array.from(new Set(this.changes)).sort();
    this.marks = data.marks.filter((mark) => mark.space === null || mark.space === space);
    this.marked = Float64Array.from(this.marks, (mark) => mark.time);
    this.begin = Math.min(...ends(rows, pasts.since), data.duration);
    this.end = Math.max(...ends(rows, pasts.until), this.begin + 1);
    this.even = even && this.times.length > 1;

    this.edges = Float64Array.from(
      new Set(rows.flatMap((i) => [pasts.start[i], pasts.end[i]])),
    ).sort();
    const { edges } = this;
    const first = Uint32Array.from(rows, (i) => lowerBound(edges, pasts.start[i]));
    const last = Uint32Array.from(rows, (i) => lowerBound(edges, pasts.end[i]));
    this.tops = new Float64Array(edges.length);
    this.gaps = [];
    this.stack(coverings(edges.length, rows, pasts, first, last));
    this.height = this.tops[edges.length - 1] || 1;

    // Large ones first, so that small ones are not painted over where all are smaller than pixels.
    const area = rows.map((i, k) => pasts.lasted[i] * (this.tops[last[k]] - this.tops[first[k]]));
    const order = rows.map((_, k) => k).sort((a, b) => area[b] - area[a]);
    this.rows = Uint32Array.from(order, (k) => rows[k]);
    this.top = Float64Array.from(order, (k) => this.tops[first[k]]);
    this.bottom = Float64Array.from(order, (k) => this.tops[last[k]]);
    this.left = Float64Array.from(order, (k) => this.across(pasts.since[rows[k]]));
    this.right = Float64Array.from(order, (k) => this.across(pasts.until[rows[k]]));
  }

  /** Gives each band its height, from the kind that covers it. */
  stack(kinds) {
    const { edges, tops } = this;
    const pages = (band) => (edges[band + 1] - edges[band]) / PAGE;
    for (let from = 0, to; from + 1 < edges.length; from = to) {
      const kind = kinds[from];
      let sum = 0;
      let total = 0;
      for (to = from; to + 1 < edges.length && kinds[to] === kind; to++) {
        sum += kind < 0 ? Math.min(pages(to), GAP) ** SQUEEZE : pages(to) ** SQUEEZE;
        total += pages(to);
      }
      // So that thousands of small neighbours do not take the room of all others.
      const scale = Math.min(1, (total ** SQUEEZE * (1 + Math.log2(to - from))) / sum);
      for (let band = from; band < to; band++) {
        const room = kind < 0 ? Math.min(pages(band), GAP) : pages(band);
        tops[band + 1] = tops[band] + room ** SQUEEZE * scale;
        if (kind < 0) this.gaps.push(band);
      }
    }
  }

  get width() {
    return this.across(this.end) - this.across(this.begin);
  }

  /** Where a time is. */
  across(time) {
    if (!this.even) return time - this.begin;
    const { times } = this;
    const after = lowerBound(times, time);
    const from = after === 0 ? this.begin : times[after - 1];
    const to = after === times.length ? this.end : times[after];
    return after + (to > from ? Math.min((time - from) / (to - from), 1) : 0);
  }

  /** Which time is there. */
  timeAt(x) {
    if (!this.even) return x + this.begin;
    const { times } = this;
    const after = Math.min(Math.max(Math.floor(x), 0), times.length);
    const from = after === 0 ? this.begin : times[after - 1];
    const to = after === times.length ? this.end : times[after];
    return from + (x - after) * (to - from);
  }

  /** The marks between two places. */
  marksBetween(left, right) {
    const [from, to] = [lowerBound(this.marked, this.timeAt(left)), lowerBound(this.marked, this.timeAt(right) + 1)];
    return this.marks.slice(from, to);
  }

  /** Where an address is; in a gap, where the gap is. */
  down(address) {
    const { edges, tops } = this;
    if (edges.length === 0 || address <= edges[0]) return 0;
    const band = lowerBound(edges, address) - 1;
    if (band + 1 >= edges.length) return this.height;
    const part = (address - edges[band]) / (edges[band + 1] - edges[band]);
    return tops[band] + part * (tops[band + 1] - tops[band]);
  }

  /** Which address is there. */
  addressAt(y) {
    const { edges, tops } = this;
    const band = Math.min(Math.max(lowerBound(tops, y) - 1, 0), edges.length - 2);
    const part = (y - tops[band]) / (tops[band + 1] - tops[band]);
    const address = edges[band] + Math.min(Math.max(part, 0), 1) * (edges[band + 1] - edges[band]);
    return Math.floor(address / PAGE) * PAGE;
  }
}

/** The kind of the first row that covers each band; -1 for a gap. */
function coverings(count, rows, pasts, first, last) {
  const kinds = new Int8Array(count).fill(-1);
  // The next band at or after each that is not covered yet.
  const next = Uint32Array.from({ length: count + 1 }, (_, band) => band);
  const free = (band) => {
    while (next[band] !== band) band = next[band] = next[next[band]];
    return band;
  };
  rows.forEach((row, k) => {
    for (let band = free(first[k]); band < last[k]; band = free(band)) {
      kinds[band] = pasts.kind[row];
      next[band] = band + 1;
    }
  });
  return kinds;
}

/** The least and the greatest value of some rows; nothing of none. */
function ends(rows, column) {
  let least = Infinity;
  let greatest = -Infinity;
  for (const i of rows) {
    least = Math.min(least, column[i]);
    greatest = Math.max(greatest, column[i]);
  }
  return rows.length ? [least, greatest] : [];
}
