"use strict";

const at = (id) => document.getElementById(id);

const PAGE = 4096;
const FATES = { alive: 0, unmapped: 1, replaced: 2, changed: 3, gone: 4 };
const MARKS = { task: 0, failure: 1, doubt: 2 };
const PERMS = { read: 1, write: 2, exec: 4, shared: 8 };

/** Reads the data of the page: columns become typed arrays, differences what they are of. */
async function load() {
  const text = atob(document.getElementById("data").textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const gzip = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = await new Response(gzip).json();
  const sums = (column) => {
    let sum = 0;
    return Float64Array.from(column, (difference) => (sum += difference));
  };
  const { pasts, deeds } = data;
  data.begin = BigInt(data.begin.replace(".", ""));
  for (const column of ["time", "commit", "pages", "regions"]) deeds[column] = sums(deeds[column]);
  const page = sums(pasts.page);
  const until = sums(pasts.until);
  data.pasts = {
    ...pasts,
    length: page.length,
    start: page.map((page) => page * PAGE),
    end: page.map((page, i) => (page + pasts.pages[i]) * PAGE),
    until,
    since: until.map((until, i) => until - pasts.lasted[i]),
    kind: Uint8Array.from(pasts.kind),
    perms: Uint8Array.from(pasts.perms),
    fate: Uint8Array.from(pasts.fate),
    space: Uint32Array.from(pasts.space),
    name: Uint32Array.from(pasts.name),
    mapped: Int32Array.from(pasts.mapped),
    made: Int32Array.from(pasts.made),
    by: Int32Array.from(pasts.by),
  };
  return data;
}

const hex = (address) => address.toString(16);

/** As the tool writes sizes: exact, in the largest unit that is. */
function size(bytes) {
  const units = ["", "K", "M", "G", "T", "P"];
  let unit = 0;
  while (bytes >= 1024 && unit < 5 && Number.isInteger((bytes / 1024) * 2)) {
    bytes /= 1024;
    unit++;
  }
  return Number.isInteger(bytes) || unit > 0 ? bytes + units[unit] : String(bytes);
}

/** A size for the axis: three digits will do. */
function about(bytes) {
  const units = ["B", "K", "M", "G", "T", "P"];
  let unit = 0;
  while (bytes >= 1000 && unit < 5) {
    bytes /= 1024;
    unit++;
  }
  return `${bytes < 9.95 && unit > 0 ? bytes.toFixed(1) : Math.round(bytes)}${units[unit]}`;
}

/** A span of time in ns. */
function span(nanos) {
  if (nanos < 1e3) return `${nanos} ns`;
  if (nanos < 1e6) return `${+(nanos / 1e3).toPrecision(4)} µs`;
  if (nanos < 1e9) return `${+(nanos / 1e6).toPrecision(4)} ms`;
  return `${+(nanos / 1e9).toPrecision(6)} s`;
}

/** The four characters of /proc/PID/maps. */
const permissions = (bits) =>
  (bits & PERMS.read ? "r" : "-") +
  (bits & PERMS.write ? "w" : "-") +
  (bits & PERMS.exec ? "x" : "-") +
  (bits & PERMS.shared ? "s" : "p");

/** The time of day, to the microsecond, of ns since the first event. */
function clock(data, nanos) {
  const local = data.begin + BigInt(Math.round(nanos)) + BigInt(data.utc_offset) * 1_000_000_000n;
  const micros = Number((local / 1000n) % 86_400_000_000n);
  const pad = (number, width) => String(Math.floor(number)).padStart(width, "0");
  const seconds = micros / 1e6;
  return `${pad(seconds / 3600, 2)}:${pad((seconds / 60) % 60, 2)}:${pad(seconds % 60, 2)}.${pad(micros % 1e6, 6)}`;
}

/** The first place in an ascending array whose value is not below this. */
function lowerBound(array, value) {
  let low = 0;
  let high = array.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (array[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
