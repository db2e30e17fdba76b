/** An element of a page that others named: what they chose is text, never markup. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made[key] = value;
  made.append(...children);
  return made;
}

/** Who did something: `worker 4711/4713`. */
function who(data, task) {
  const [pid, tid, name] = data.tasks[task];
  return pid === tid ? `${name} ${pid}` : `${name} ${pid}/${tid}`;
}

/** Pages and what they are like, as a line of maps. */
function region(data, row, at = data.pasts) {
  const name = data.texts[at.name[row]];
  const [start, end] = [at.start[row], at.end[row]];
  return `${hex(start)}-${hex(end)} ${permissions(at.perms[row])} ${size(end - start)}${name ? ` ${name}` : ""}`;
}

/** What happened to the page of an address in a space, in order. */
function story(data, space, address) {
  const { pasts, deeds } = data;
  const rows = [];
  for (let i = 0; i < pasts.length; i++) {
    if (pasts.space[i] === space && pasts.start[i] <= address && address < pasts.end[i]) rows.push(i);
  }
  rows.sort((a, b) => pasts.since[a] - pasts.since[b] || pasts.until[a] - pasts.until[b]);
  const entries = [];
  const happened = (deed, what, row, kind, time = deeds.time[deed]) => entries.push({ time, deed, what, row, kind });
  for (const row of rows) {
    const [mapped, made, by] = [pasts.mapped[row], pasts.made[row], pasts.by[row]];
    const first = made === mapped;
    if (made >= 0) happened(made, first ? "mapped" : "changed", row, first ? "born" : "");
    else happened(-1, "there when the events begin", row, "born", pasts.since[row]);
    if (pasts.fate[row] === FATES.unmapped) happened(by, "unmapped", row, "gone");
    if (pasts.fate[row] === FATES.replaced) happened(by, "replaced by other pages", row, "gone");
    if (pasts.fate[row] === FATES.gone) happened(-1, "gone with its address space", row, "gone", pasts.until[row]);
    if (pasts.fate[row] === FATES.alive) happened(-1, "still mapped when the events end", row, "", pasts.until[row]);
  }
  return entries;
}

/** What a pointer at a region shows. */
function tip(data, row) {
  const { pasts, deeds } = data;
  const act = (deed) => `${data.texts[deeds.text[deed]]} by ${who(data, deeds.task[deed])}, at ${span(deeds.time[deed])}`;
  const [mapped, made, by] = [pasts.mapped[row], pasts.made[row], pasts.by[row]];
  const lines = [
    element("div", { className: "code what" }, region(data, row)),
    element("div", { className: "faint" }, `${data.kinds[pasts.kind[row]]}, for ${span(pasts.until[row] - pasts.since[row])}`),
    element("div", {}, mapped >= 0 ? `mapped: ${act(mapped)}` : "mapped before the events begin"),
  ];
  if (made >= 0 && made !== mapped) lines.push(element("div", {}, `changed: ${act(made)}`));
  const then = ["there when the events end", "unmapped", "replaced", "then changed", "gone with its address space"][pasts.fate[row]];
  lines.push(element("div", {}, by >= 0 ? `${then}: ${act(by)}` : then));
  return lines;
}

/** The panel with the story of a page; `go` takes a time to be shown. */
function tellStory(panel, data, space, address, row, go) {
  const entries = story(data, space, address);
  const { pid, comm } = data.spaces[space];
  const items = entries.map(({ time, deed, what, row: of, kind }) => {
    const { deeds } = data;
    const told = [
      element("div", {}, element("span", { className: "what" }, what), element("span", { className: "faint" }, ` at ${span(time)}, ${clock(data, time)}`)),
    ];
    if (deed >= 0) {
      told.push(element("div", { className: "code" }, data.texts[deeds.text[deed]]));
      told.push(element("div", { className: "faint" }, `by ${who(data, deeds.task[deed])}, commit ${deeds.commit[deed]}`));
    }
    const stack = deed >= 0 ? data.stacks[deeds.stack[deed]] : undefined;
    if (stack) told.push(element("div", { className: "code stack" }, stack.join("\n")));
    if (kind !== "gone") told.push(element("div", { className: "code faint" }, region(data, of)));
    const button = element("button", { className: "go", type: "button", title: "Show this time" }, ...told);
    button.addEventListener("click", () => go(time));
    return element("li", { className: `${kind}${of === row ? " now" : ""}` }, button);
  });
  panel.replaceChildren(
    element("h2", {}, `0x${hex(address)}`),
    element("p", { className: "faint" }, `the page there, in ${pid} ${comm}`),
    element("ol", {}, ...items),
  );
  panel.scrollTop = 0;
  panel.querySelector(".now")?.scrollIntoView({ block: "nearest" });
}

/** The panel before anything is chosen: what there is. */
function tellSpace(panel, data, space) {
  const { pid, comm, changes, peak, regions } = data.spaces[space];
  const failures = data.marks.filter((mark) => mark.space === space && mark.kind === MARKS.failure).length;
  const facts = [
    ["changes", changes.toLocaleString("en")],
    ["failed calls", failures.toLocaleString("en")],
    ["most regions", regions.toLocaleString("en")],
    ["most mapped", about(peak)],
    ["events begin", clock(data, 0)],
    ["they last", span(data.duration)],
  ];
  panel.replaceChildren(
    element("h2", {}, `${pid} ${comm}`),
    element("p", { className: "faint" }, "Click a region for its story."),
    element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
  );
}
