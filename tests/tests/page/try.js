// Runs in the page, after `browser/tools.js`: uses it as a person would, and reports what it did.

const [passed, failed] = [[], []];
const check = (what, holds, more) => (holds ? passed.push(what) : failed.push([what, more ?? null]));
const span = () => timeline.view.right - timeline.view.left;
const tall = () => timeline.view.bottom - timeline.view.top;
const { data } = timeline;
const { pasts } = data;
const rowOf = (text) => Array.from(timeline.layout.rows).find((row) => data.texts[pasts.name[row]].includes(text));

// What is drawn.

const stack = rowOf("[stack]");
const heap = rowOf("[heap]");
await drawn();
const { kinds, plot } = timeline.painter.colours;
const colour = (row) => kinds[pasts.kind[row]].css;
check("a stack has its colour", pixel(...middle(stack)) === colour(stack), [pixel(...middle(stack)), colour(stack)]);
check("a heap has its own", pixel(...middle(heap)) === colour(heap) && colour(heap) !== colour(stack));
const [stackAt, heapAt] = [middle(stack)[1], middle(heap)[1]];
check("addresses go down", heapAt < stackAt);
check("there is a process to choose", at("process").options.length === 1, at("process").innerHTML);
check("there is a legend", data.kinds.every((kind) => at("legend").textContent.includes(kind)));
check("gaps are squeezed", timeline.layout.height < 1000 && timeline.layout.gaps.length > 3);

// Pointing, and clicking.

mouse("pointermove", ...middle(stack));
check("pointing shows a region", !at("tip").hidden && at("tip").textContent.includes("[stack]"), at("tip").textContent);
mouse("pointerleave", 0, 0);
check("leaving hides it", at("tip").hidden);
mouse("pointerdown", ...middle(stack));
mouse("pointerup", ...middle(stack));
check("a click tells a story", at("story").textContent.includes("still mapped when the events end"), at("story").textContent);

// Zooming, and moving.

const [x, y] = [600, 400];
const before = [span(), timeline.place(x, y).across];
mouse("wheel", x, y, { deltaY: -400 });
check("the wheel zooms in time", span() < before[0] * 0.6);
check("around the pointer", Math.abs(timeline.place(x, y).across - before[1]) < before[0] / 1000);
const height = tall();
mouse("wheel", x, y, { deltaY: -400, shiftKey: true });
check("with Shift in addresses", tall() < height * 0.6);
const left = timeline.view.left;
mouse("pointerdown", x, y);
mouse("pointermove", x - 100, y);
mouse("pointerup", x - 100, y);
check("dragging moves", timeline.view.left > left);
press("0");
check("0 shows all", span() >= timeline.layout.width);
mouse("pointerdown", 300, 200);
mouse("pointermove", 700, 500, { shiftKey: true });
mouse("pointerup", 700, 500, { shiftKey: true });
check("a box is zoomed to", span() < timeline.layout.width * 0.6);
press("0");
mouse("dblclick", ...middle(stack));
check("a double click zooms to a region", tall() < timeline.layout.height * 0.6);
await drawn();
check("which is drawn where it is now", pixel(...middle(stack)) === colour(stack));
press("0");

// With keys alone.

at("canvas").focus();
check("it says what it is", at("canvas").ariaLabel.length > 20 && at("canvas").role === "application");
press("+");
check("plus zooms", span() < timeline.layout.width);
const place = timeline.view.left;
press("ArrowRight");
check("arrows move", timeline.view.left > place);
const top = timeline.view.top;
press("+", at("canvas"), { shiftKey: true });
press("ArrowDown");
check("down too", timeline.view.top > top);
press("0");
press("/", document.body);
check("a slash goes to the search", document.activeElement === at("search"));

// Searching.

type(hex(pasts.start[stack]));
check("an address is found", at("found").value === "found" && at("story").textContent.includes("[stack]"), at("found").value);
type("0x1000");
check("one that was never mapped is not", at("found").value === "never mapped", at("found").value);
type("libc");
check("names are found", /match/.test(at("found").value), at("found").value);
press("n", document.body);
check("and gone to", at("found").value.startsWith("1 of "), at("found").value);
check("and told", document.querySelectorAll(".match[aria-current=true]").length === 1);
press("Escape", document.body);
check("Escape clears", at("search").value === "" && timeline.marked.rows === null);
press("Enter");
check("Enter tells of the middle", at("story").textContent.length > 0);

// Even steps, light and dark.

press("e");
check("even steps", timeline.layout.even && at("pace").ariaPressed === "true");
check("show all changes", timeline.layout.width >= timeline.layout.times.length);
press("e");
const theme = document.documentElement.dataset.theme;
at("theme").click();
await drawn();
check("the theme changes", document.documentElement.dataset.theme !== theme && timeline.painter.colours.plot !== plot);
const empty = [middle(stack)[0], (heapAt + stackAt) / 2];
const colours = new Set([...kinds.map(({ css }) => css), plot]);
check("the picture with it", pixel(...empty) !== plot, [pixel(...empty), ...colours]);

// Names that a program chose.

const hostile = rowOf("onerror");
check("a hostile name is text", data.texts[pasts.name[hostile]].includes("</script><img src=x"), data.texts);
press("0");
mouse("pointermove", ...middle(hostile));
check("where it is pointed at", at("tip").textContent.includes("</script><img"), at("tip").textContent);
mouse("pointerdown", ...middle(hostile));
mouse("pointerup", ...middle(hostile));
check("in its story", at("story").textContent.includes("</script><img"), at("story").textContent);
type("onerror");
check("in what is found", at("story").textContent.includes("</script><img"), at("story").textContent);
check("and in the list of processes", at("process").textContent.includes("<b>;a"), at("process").textContent);
check("no element comes of it", document.querySelectorAll("img, b, main script").length === 0);
check("and nothing runs", document.title.startsWith("mmaptrace: "), document.title);
return { passed, failed };
