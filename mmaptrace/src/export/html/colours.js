const KIND_COLOURS = ["heap", "stack", "anonymous", "code", "data", "shared", "special"];
const SHADES = { none: 0, read: 1, full: 2, alarm: 3 };

/** How permissions are drawn: hatched without any, light if only read, striped if they write what they run. */
function shade(perms) {
  if ((perms & PERMS.write) !== 0 && (perms & PERMS.exec) !== 0) return SHADES.alarm;
  if ((perms & (PERMS.write | PERMS.exec)) !== 0) return SHADES.full;
  return perms & PERMS.read ? SHADES.read : SHADES.none;
}

/** The page's colours, as CSS and as pixels. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const css = (name) => style.getPropertyValue(`--${name}`).trim();
  const parts = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  const pixel = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  const mix = (a, b, share) => a.map((part, i) => Math.round(part + (b[i] - part) * share));
  const plot = parts(css("plot"));
  const back = parts(css("back"));
  const alarm = pixel(parts(css("alarm")));
  const kinds = KIND_COLOURS.map((name) => {
    const colour = parts(css(name));
    const faded = (share) => ({
      [SHADES.none]: pixel(mix(mix(colour, plot, 0.35), plot, share)),
      [SHADES.read]: pixel(mix(mix(colour, plot, 0.5), plot, share)),
      [SHADES.full]: pixel(mix(colour, plot, share)),
      [SHADES.alarm]: pixel(mix(colour, plot, share)),
      edge: pixel(mix(mix(colour, back, 0.72), plot, share)),
    });
    const bright = (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255;
    return { css: css(name), lit: faded(0), dim: faded(0.82), ink: bright > 0.5 ? "#10131a" : "#ffffff" };
  });
  const names = ["back", "plot", "line", "faint", "text", "accent", "alarm", "panel", "stack", "anonymous"];
  return { ...Object.fromEntries(names.map((name) => [name, css(name)])), kinds, plotPixel: pixel(plot), alarmPixel: alarm };
}

/** Fills a rectangle of pixels, with an edge where there is room for one. */
function fill(pixels, width, x0, y0, x1, y1, palette, look, { alarmPixel, plotPixel }) {
  const edged = x1 - x0 > 4 && y1 - y0 > 3;
  for (let y = y0; y < y1; y++) {
    const from = y * width;
    if (look === SHADES.full || look === SHADES.read) {
      pixels.fill(palette[look], from + x0, from + x1);
    } else {
      const [a, b] = look === SHADES.alarm ? [alarmPixel, palette[look]] : [palette[look], plotPixel];
      for (let x = x0; x < x1; x++) pixels[from + x] = (x + y) % 6 < 2 ? a : b;
    }
    if (edged) pixels[from + x0] = palette.edge;
  }
  if (edged) pixels.fill(palette.edge, y0 * width + x0, y0 * width + x1);
}
