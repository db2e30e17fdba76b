/** Round times, about a hundred pixels apart. */
function timeTicks(from, to, width) {
  const least = Math.max(((to - from) / width) * 96, 1);
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least);
  const [unit, name] = to >= 1e9 ? [1e9, "s"] : to >= 1e6 ? [1e6, "ms"] : to >= 1e3 ? [1e3, "µs"] : [1, "ns"];
  const digits = Math.max(0, Math.ceil(Math.log10(unit / step)));
  const ticks = [];
  for (let at = Math.max(0, Math.ceil(from / step)); at * step <= to; at++) {
    const time = at * step;
    ticks.push({ time, text: `${(time / unit).toFixed(digits)} ${name}` });
  }
  return ticks;
}

/** The times of changes, about a hundred pixels apart. */
function evenTicks(layout, view, width) {
  const step = Math.max(1, Math.ceil(((view.right - view.left) / width) * 110));
  const ticks = [];
  for (let at = Math.max(1, Math.ceil(view.left / step) * step); at <= Math.min(view.right, layout.times.length); at += step) {
    const time = layout.times[at - 1];
    ticks.push({ time, text: span(time) });
  }
  return ticks;
}
