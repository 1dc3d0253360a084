import type { Scene } from "./scene.js";
import type { Rgba } from "./theme.js";
import { borderOf, tintOf } from "./zones.js";

/** 32-bit words of a line: x0 y0 x1 y1, metres from the start of its path, CSS pixels wide, style, colour (four bytes). */
export const LINE_WORDS = 8;
/** What a line looks like along its way. */
export const STYLE = { solid: 0, dashed: 1, arrows: 2 } as const;

/** Lines as the shader wants them; the buffer grows and is used again. */
export class Lines {
  count = 0;
  f32 = new Float32Array(64 * LINE_WORDS);
  u32 = new Uint32Array(this.f32.buffer);

  clear(): void {
    this.count = 0;
  }

  /** One stretch; gives its length, metres. */
  add(x0: number, y0: number, x1: number, y1: number, along: number, width: number, style: number, colour: number): number {
    if ((this.count + 1) * LINE_WORDS > this.f32.length) {
      const larger = new Float32Array(2 * this.f32.length);
      larger.set(this.f32);
      this.f32 = larger;
      this.u32 = new Uint32Array(larger.buffer);
    }
    const o = LINE_WORDS * this.count++, f = this.f32;
    f[o] = x0; f[o + 1] = y0; f[o + 2] = x1; f[o + 3] = y1;
    f[o + 4] = along; f[o + 5] = width; f[o + 6] = style;
    this.u32[o + 7] = colour;
    return Math.hypot(x1 - x0, y1 - y0);
  }

  /** A path through points. */
  path(from: readonly [number, number], points: readonly (readonly [number, number])[], width: number, style: number, colour: number): void {
    let [x, y] = from, along = 0;
    for (const [px, py] of points) {
      if (px === x && py === y) continue;
      along += this.add(x, y, px, py, along, width, style, colour);
      [x, y] = [px, py];
    }
  }
}

/** A colour as four bytes, red lowest. */
export function bytesOf(c: Rgba, alpha = c[3]): number {
  const b = (v: number) => Math.round(255 * Math.min(1, Math.max(0, v)));
  return (b(c[0]) | (b(c[1]) << 8) | (b(c[2]) << 16) | (b(alpha) << 24)) >>> 0;
}

/** The roads of the map. */
export function laneLines(s: Scene, out: Lines): void {
  out.clear();
  const lanes = s.floor?.net?.lanes;
  if (!lanes) return;
  const colour = bytesOf(s.theme.rgba["floor-lane"]);
  for (let i = 0; i + 3 < lanes.length; i += 4) out.add(lanes[i]!, lanes[i + 1]!, lanes[i + 2]!, lanes[i + 3]!, 0, 1, STYLE.solid, colour);
}

/** The borders of the zones that are shown. */
export function zoneLines(s: Scene, out: Lines): void {
  out.clear();
  if (s.fill !== "none") {
    for (const z of s.zones) {
      if (z.shape.id === s.selectedZone) continue;
      const traffic = z.shape.kind === "traffic", { width, strong } = borderOf(z.shape, s.fill);
      outline(out, z.shape.ring, width, strong ? bytesOf(s.theme.rgba["map-text"], 0.9) : bytesOf(tintOf(z.shape, s.theme), traffic && s.fill !== "clusters" ? 0.75 : 1));
    }
  }
  const chosen = s.zones.find((z) => z.shape.id === s.selectedZone);
  if (!chosen) return;
  outline(out, chosen.shape.ring, 6, bytesOf(s.theme.rgba["map-text-halo"], 0.85));
  outline(out, chosen.shape.ring, 3, bytesOf(s.theme.rgba["select"]));
}

function outline(out: Lines, ring: readonly (readonly [number, number])[], width: number, colour: number): void {
  if (ring.length > 1) out.path(ring[ring.length - 1]!, ring, width, STYLE.solid, colour);
}

/** Where the selected robot has been, thin, and its order: what is released solid with arrow heads, the rest dashed; all on a halo. */
export function orderLines(s: Scene, out: Lines): void {
  out.clear();
  const { rgba } = s.theme;
  for (const [colour, width] of [[bytesOf(rgba["map-text-halo"], 0.7), 4], [bytesOf(rgba["select"], 0.8), 1.75]] as const) {
    for (const line of s.track) if (line[0]) out.path(line[0], line, width, STYLE.solid, colour);
  }
  const o = s.order;
  if (!o) return;
  const bend = o.base[o.base.length - 1] ?? o.at;
  const halo = bytesOf(rgba["map-text-halo"], 0.7);
  out.path(bend, o.horizon, 5.5, STYLE.solid, halo);
  out.path(o.at, o.base, 8.5, STYLE.solid, halo);
  out.path(bend, o.horizon, 3, STYLE.dashed, bytesOf(rgba["order-horizon"]));
  out.path(o.at, o.base, 5.5, STYLE.arrows, bytesOf(rgba["order-base"]));
}
