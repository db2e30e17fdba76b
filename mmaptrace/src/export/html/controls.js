/** The list of processes, and of each image that they ran. */
function chooseProcess(timeline) {
  const { spaces } = timeline.data;
  const images = new Map();
  const options = spaces.map(({ pid, comm, changes }, i) => {
    const image = (images.get(pid) ?? 0) + 1;
    images.set(pid, image);
    const nth = image > 1 ? `, image ${image}` : "";
    return element("option", { value: String(i) }, `${pid} ${comm}${nth}: ${changes.toLocaleString("en")} changes`);
  });
  at("process").replaceChildren(...options);
  at("process").addEventListener("change", (event) => timeline.open(Number(event.target.value)));
}

/** What the colours mean. */
function drawLegend(timeline) {
  const swatch = (kind, perms) => {
    const made = element("canvas", { width: 18, height: 12 });
    const image = new ImageData(18, 12);
    const pixels = new Uint32Array(image.data.buffer);
    const { colours } = timeline.painter;
    fill(pixels, 18, 0, 0, 18, 12, colours.kinds[kind].lit, shade(perms), colours);
    made.getContext("2d").putImageData(image, 0, 0);
    return made;
  };
  const { read, write, exec } = PERMS;
  const anonymous = timeline.data.kinds.indexOf("anonymous");
  const kinds = timeline.data.kinds.map((name, kind) => [swatch(kind, read | write), name]);
  const looks = [
    [swatch(anonymous, read), "read only"],
    [swatch(anonymous, 0), "no access"],
    [swatch(anonymous, write | exec), "writable and executable"],
  ];
  at("legend").replaceChildren(...[...kinds, ...looks].map((parts) => element("span", {}, ...parts)));
}

/** The buttons, and the search. */
function listenToControls(timeline) {
  at("all").addEventListener("click", () => timeline.whole());
  at("pace").addEventListener("click", () => timeline.pace());
  at("theme").addEventListener("click", () => timeline.theme());
  at("next").addEventListener("click", () => timeline.step(1));
  at("previous").addEventListener("click", () => timeline.step(-1));
  at("search").addEventListener("input", (event) => timeline.search(event.target.value));
  at("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") timeline.step(event.shiftKey ? -1 : 1);
  });
}
