/** Matches that are listed. */
const LISTED = 200;

/** An address as people write it, 0x7f12 or 7f12a000; null if it is none. */
function parseAddress(text) {
  const digits = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(text);
  if (!digits || (!text.startsWith("0x") && digits[1].length < 5)) return null;
  const address = parseInt(digits[1], 16);
  return address <= Number.MAX_SAFE_INTEGER ? Math.floor(address / PAGE) * PAGE : null;
}

/** The rows of a space whose name, kind or permissions have a text in them, by time. */
function matches(data, layout, text) {
  const { pasts } = data;
  const wanted = text.toLowerCase();
  const named = data.texts.map((name) => name.toLowerCase().includes(wanted));
  const kinds = data.kinds.map((kind) => kind.includes(wanted));
  const exact = /^[r-][w-][x-][sp]$/.test(wanted);
  const found = Array.from(layout.rows).filter(
    (row) => (exact ? permissions(pasts.perms[row]) === wanted : named[pasts.name[row]] || kinds[pasts.kind[row]]),
  );
  return found.sort((a, b) => pasts.since[a] - pasts.since[b] || pasts.start[a] - pasts.start[b]);
}

/** The panel where nothing of a space was ever at an address; `go` takes a space in which something was. */
function tellElsewhere(panel, data, address, go) {
  const { pasts, spaces } = data;
  const others = new Set(pasts.space.filter((_, i) => pasts.start[i] <= address && address < pasts.end[i]));
  const items = Array.from(others, (space) => {
    const { pid, comm } = spaces[space];
    const button = element("button", { className: "go", type: "button" }, `${pid} ${comm}`);
    button.addEventListener("click", () => go(space));
    return button;
  });
  panel.replaceChildren(
    element("h2", {}, `0x${hex(address)}`),
    element("p", {}, "Nothing of this process was ever mapped there."),
    ...(items.length > 0 ? [element("p", { className: "faint" }, "Something was in"), ...items] : []),
  );
}

/** The panel with what was found; `go` takes a row to be shown. */
function tellMatches(panel, data, text, found, go) {
  const items = found.slice(0, LISTED).map((row, at) => {
    const lines = [
      element("div", { className: "code" }, region(data, row)),
      element("div", { className: "faint" }, `${data.kinds[data.pasts.kind[row]]}, from ${span(data.pasts.since[row])} on`),
    ];
    const button = element("button", { className: "go match", type: "button" }, ...lines);
    button.addEventListener("click", () => go(at));
    return button;
  });
  const more = found.length > LISTED ? [element("p", { className: "faint" }, `and ${found.length - LISTED} more`)] : [];
  panel.replaceChildren(element("h2", {}, `“${text}”`), ...items, ...more);
  panel.scrollTop = 0;
}
