import { screenX, screenY } from "./camera.js";
import { LINE_WORDS, type Lines, STYLE } from "./lines.js";
import type { Scene } from "./scene.js";

/** Strokes lines with the 2D canvas, as the shader of lines does: what is not in sight is left out. */
export function strokeLines(g: CanvasRenderingContext2D, s: Scene, lines: Lines): void {
  g.lineCap = "round";
  for (let i = 0, o = 0; i < lines.count; i++, o += LINE_WORDS) {
    const f = lines.f32;
    const ax = screenX(s.camera, s.width, f[o]!), ay = screenY(s.camera, s.height, f[o + 1]!);
    const bx = screenX(s.camera, s.width, f[o + 2]!), by = screenY(s.camera, s.height, f[o + 3]!);
    if (Math.max(ax, bx) < 0 || Math.min(ax, bx) > s.width || Math.max(ay, by) < 0 || Math.min(ay, by) > s.height) continue;
    const style = f[o + 6]!;
    g.beginPath();
    g.moveTo(ax, ay);
    g.lineTo(bx, by);
    if (style === STYLE.dashed) g.setLineDash([8, 5]);
    g.strokeStyle = cssOfBytes(lines.u32[o + 7]!);
    g.lineWidth = f[o + 5]!;
    g.stroke();
    g.setLineDash([]);
    if (style === STYLE.arrows) heads(g, s, ax, ay, bx, by, f[o + 4]! * s.camera.scale);
  }
  g.lineCap = "butt";
}

function heads(g: CanvasRenderingContext2D, s: Scene, ax: number, ay: number, bx: number, by: number, along: number): void {
  const long = Math.hypot(bx - ax, by - ay) || 1, ux = (bx - ax) / long, uy = (by - ay) / long;
  g.beginPath();
  for (let at = 10 - (along % 20); at < long; at += 20) {
    if (at < 0) continue;
    const x = ax + ux * at, y = ay + uy * at;
    g.moveTo(x - 2.6 * ux - 2.4 * uy, y - 2.6 * uy + 2.4 * ux);
    g.lineTo(x, y);
    g.lineTo(x - 2.6 * ux + 2.4 * uy, y - 2.6 * uy - 2.4 * ux);
  }
  g.strokeStyle = s.theme.css["map-text-halo"];
  g.lineWidth = 1.6;
  g.stroke();
}

function cssOfBytes(c: number): string {
  return `rgb(${c & 255} ${(c >> 8) & 255} ${(c >> 16) & 255} / ${(c >>> 24) / 255})`;
}
