import { rectOf, screenX, screenY } from "./camera.js";
import { robotPx } from "./detail.js";
import { WORDS } from "./fleet.js";
import { ABSENT, MARK, SHAPES, TROUBLE } from "./look.js";
import { type Painter, type Scene, SIGN_FROM_PX } from "./scene.js";
import { drawPlace, drawRobot, type Inks } from "./sprites.js";
import { flowLines } from "./flow.js";
import { jamLines } from "./heat.js";
import { Lines } from "./lines.js";
import { strokeLines } from "./strokes.js";
import { waitLines } from "./waits.js";
import { cssOf, PAINT_TOKENS, type Rgba } from "./theme.js";
import { borderOf, fillOf, tintOf, type Zone } from "./zones.js";

const HEADINGS = 16;
const MOST_SPRITES = 1500;

/** Paints with the 2D canvas: the same picture where WebGL is not to be had. Robots are stamped from sprites. */
export class CanvasPainter implements Painter {
  readonly kind = "canvas";
  #g: CanvasRenderingContext2D;
  #cells: HTMLCanvasElement | null = null;
  #hatch: CanvasPattern | null = null;
  #sprites = new Map<number, HTMLCanvasElement>();
  #seen = { floor: -1, theme: -1, px: -1, dpr: -1, flow: -1, jams: -1, waits: -1 };
  #flow = new Lines();
  #jams = new Lines();
  #waits = new Lines();

  constructor(g: CanvasRenderingContext2D) {
    this.#g = g;
  }

  take(s: Scene): void {
    s.fleet.dirty.fill(0);
  }

  draw(s: Scene): void {
    const g = this.#g;
    if (this.#seen.floor !== s.rev.floor || this.#seen.theme !== s.rev.theme) {
      this.#prepareCells(s);
      this.#hatch = hatchOf(g, s.theme.css["zone-keep-out"]);
    }
    if (this.#seen.flow !== s.rev.flow) flowLines(s, this.#flow);
    if (this.#seen.jams !== s.rev.jams) jamLines(s, this.#jams);
    if (this.#seen.waits !== s.rev.waits) waitLines(s, this.#waits);
    this.#seen.flow = s.rev.flow;
    this.#seen.jams = s.rev.jams;
    this.#seen.waits = s.rev.waits;
    g.setTransform(s.dpr, 0, 0, s.dpr, 0, 0);
    g.globalAlpha = 1;
    g.fillStyle = cssOf(s.theme.ground, 1);
    g.fillRect(0, 0, s.width, s.height);
    this.#drawFloor(s);
    this.#drawZones(s);
    if (s.layers.lanes) this.#drawLanes(s);
    if (s.layers.flow) strokeLines(g, s, this.#flow);
    if (s.layers.jams) strokeLines(g, s, this.#jams);
    this.#drawZoneLines(s);
    if (s.detail === "robots") this.#drawPlaces(s);
    this.#drawOrder(s);
    if (s.detail === "robots") {
      this.#drawRobots(s);
      strokeLines(g, s, this.#waits);
    }
    this.#seen.floor = s.rev.floor;
    this.#seen.theme = s.rev.theme;
  }

  destroy(): void {
    this.#sprites.clear();
    this.#cells = null;
  }

  #prepareCells(s: Scene): void {
    this.#cells = null;
    this.#sprites.clear();
    const grid = s.floor?.grid;
    if (!grid) return;
    const cells = Object.assign(document.createElement("canvas"), { width: grid.cols, height: grid.rows });
    const g = cells.getContext("2d");
    if (!g) return;
    const image = g.createImageData(grid.cols, grid.rows), words = new Uint32Array(image.data.buffer);
    const free = wordOf(s.theme.rgba["floor-free"]), blocked = wordOf(s.theme.rgba["floor-blocked"]);
    for (let i = 0; i < words.length; i++) words[i] = grid.free[i] ? free : blocked;
    g.putImageData(image, 0, 0);
    this.#cells = cells;
  }

  #drawFloor(s: Scene): void {
    if (!s.floor) return;
    const g = this.#g, grid = s.floor.grid, k = s.camera.scale;
    if (grid && this.#cells) {
      g.imageSmoothingEnabled = s.cell * k < 1;
      const wide = grid.cols * grid.resolution, high = grid.rows * grid.resolution;
      g.drawImage(this.#cells, screenX(s.camera, s.width, 0), screenY(s.camera, s.height, high), wide * k, high * k);
      if (s.cell * k > 14) this.#drawCellBorders(s, wide, high);
      return;
    }
    const [x0, y0, x1, y1] = s.bounds;
    g.fillStyle = s.theme.css["floor-free"];
    g.fillRect(screenX(s.camera, s.width, x0 - s.cell), screenY(s.camera, s.height, y1 + s.cell), (x1 - x0 + 2 * s.cell) * k, (y1 - y0 + 2 * s.cell) * k);
  }

  #drawCellBorders(s: Scene, wide: number, high: number): void {
    const g = this.#g, [x0, y0, x1, y1] = rectOf(s.camera, s.width, s.height);
    g.beginPath();
    for (let x = Math.max(0, Math.floor(x0 / s.cell) * s.cell); x <= Math.min(wide, x1); x += s.cell) {
      g.moveTo(screenX(s.camera, s.width, x), screenY(s.camera, s.height, Math.max(0, y0)));
      g.lineTo(screenX(s.camera, s.width, x), screenY(s.camera, s.height, Math.min(high, y1)));
    }
    for (let y = Math.max(0, Math.floor(y0 / s.cell) * s.cell); y <= Math.min(high, y1); y += s.cell) {
      g.moveTo(screenX(s.camera, s.width, Math.max(0, x0)), screenY(s.camera, s.height, y));
      g.lineTo(screenX(s.camera, s.width, Math.min(wide, x1)), screenY(s.camera, s.height, y));
    }
    g.strokeStyle = cssOf(s.theme.rgba["floor-lane"], 0.45);
    g.lineWidth = 1;
    g.stroke();
  }

  #drawZones(s: Scene): void {
    const g = this.#g;
    for (const z of s.zones) {
      const c = fillOf(z.shape, s.fill, s.theme);
      if (!c || c[3] === 0) continue;
      g.beginPath();
      this.#ring(s, z);
      g.fillStyle = z.shape.kind === "keep_out" && this.#hatch ? this.#hatch : cssOf(c);
      g.fill();
    }
  }

  #drawZoneLines(s: Scene): void {
    const g = this.#g;
    for (const z of s.fill === "none" ? [] : s.zones) {
      g.beginPath();
      this.#ring(s, z);
      const traffic = z.shape.kind === "traffic", { width, strong } = borderOf(z.shape, s.fill);
      g.strokeStyle = strong ? cssOf(s.theme.rgba["map-text"], 0.9) : cssOf(tintOf(z.shape, s.theme), traffic && s.fill !== "clusters" ? 0.75 : 1);
      g.lineWidth = width;
      g.stroke();
    }
    const chosen = s.zones.find((z) => z.shape.id === s.selectedZone);
    if (!chosen) return;
    g.beginPath();
    this.#ring(s, chosen);
    for (const [colour, width] of [[cssOf(s.theme.rgba["map-text-halo"], 0.85), 6], [s.theme.css["select"], 3]] as const) {
      g.strokeStyle = colour;
      g.lineWidth = width;
      g.stroke();
    }
  }

  #ring(s: Scene, z: Zone): void {
    for (const [x, y] of z.shape.ring) this.#g.lineTo(screenX(s.camera, s.width, x), screenY(s.camera, s.height, y));
    this.#g.closePath();
  }

  #drawLanes(s: Scene): void {
    const lanes = s.floor?.net?.lanes;
    if (!lanes) return;
    const g = this.#g, [x0, y0, x1, y1] = rectOf(s.camera, s.width, s.height);
    g.beginPath();
    for (let i = 0; i + 3 < lanes.length; i += 4) {
      const ax = lanes[i]!, ay = lanes[i + 1]!, bx = lanes[i + 2]!, by = lanes[i + 3]!;
      if (Math.max(ax, bx) < x0 || Math.min(ax, bx) > x1 || Math.max(ay, by) < y0 || Math.min(ay, by) > y1) continue;
      g.moveTo(screenX(s.camera, s.width, ax), screenY(s.camera, s.height, ay));
      g.lineTo(screenX(s.camera, s.width, bx), screenY(s.camera, s.height, by));
    }
    g.strokeStyle = s.theme.css["floor-lane"];
    g.lineWidth = Math.min(4, Math.max(1, 0.12 * s.cell * s.camera.scale));
    g.stroke();
  }

  #drawPlaces(s: Scene): void {
    const px = Math.min(30, 0.9 * s.cell * s.camera.scale);
    if (px < SIGN_FROM_PX || !s.floor) return;
    const g = this.#g, [x0, y0, x1, y1] = rectOf(s.camera, s.width, s.height);
    for (const p of s.floor.places) {
      if (!(p.parking || p.charging) || p.x < x0 || p.x > x1 || p.y < y0 || p.y > y1) continue;
      g.save();
      g.translate(screenX(s.camera, s.width, p.x), screenY(s.camera, s.height, p.y));
      drawPlace(g, p.charging, px / 2, s.theme.css[p.charging ? "zone-charging" : "zone-parking"]);
      g.restore();
    }
  }

  #drawOrder(s: Scene): void {
    const { css, rgba } = s.theme, halo = cssOf(rgba["map-text-halo"], 0.7);
    for (const [colour, width] of [[halo, 4], [cssOf(rgba["select"], 0.8), 1.75]] as const) {
      for (const line of s.track) if (line[0]) this.#path(s, line[0], line, width, colour);
    }
    const o = s.order;
    if (!o) return;
    const bend = o.base[o.base.length - 1] ?? o.at;
    this.#path(s, bend, o.horizon, 5.5, halo);
    this.#path(s, o.at, o.base, 8.5, halo);
    this.#g.setLineDash([8, 5]);
    this.#path(s, bend, o.horizon, 3, css["order-horizon"]);
    this.#g.setLineDash([]);
    this.#path(s, o.at, o.base, 5.5, css["order-base"]);
    this.#arrows(s, o.at, o.base);
  }

  #path(s: Scene, from: readonly [number, number], points: readonly (readonly [number, number])[], width: number, colour: string): void {
    if (points.length === 0) return;
    const g = this.#g;
    g.beginPath();
    g.moveTo(screenX(s.camera, s.width, from[0]), screenY(s.camera, s.height, from[1]));
    for (const [x, y] of points) g.lineTo(screenX(s.camera, s.width, x), screenY(s.camera, s.height, y));
    g.lineCap = g.lineJoin = "round";
    g.strokeStyle = colour;
    g.lineWidth = width;
    g.stroke();
    g.lineCap = "butt";
  }

  #arrows(s: Scene, from: [number, number], points: [number, number][]): void {
    const g = this.#g;
    let [x, y] = from, next = 10;
    g.beginPath();
    for (const [px, py] of points) {
      const dx = px - x, dy = py - y, long = Math.hypot(dx, dy) * s.camera.scale;
      const ux = (dx * s.camera.scale) / (long || 1), uy = (-dy * s.camera.scale) / (long || 1);
      for (; next < long; next += 20) {
        const ax = screenX(s.camera, s.width, x) + ux * next, ay = screenY(s.camera, s.height, y) + uy * next;
        if (ax < 0 || ay < 0 || ax > s.width || ay > s.height) continue;
        g.moveTo(ax - 2.6 * ux - 2.4 * uy, ay - 2.6 * uy + 2.4 * ux);
        g.lineTo(ax, ay);
        g.lineTo(ax - 2.6 * ux + 2.4 * uy, ay - 2.6 * uy - 2.4 * ux);
      }
      next -= long;
      [x, y] = [px, py];
    }
    g.strokeStyle = s.theme.css["map-text-halo"];
    g.lineWidth = 1.6;
    g.stroke();
  }

  #drawRobots(s: Scene): void {
    const px = Math.round(robotPx(s.camera.scale, s.cell, s.fleet.drawn) * 2) / 2;
    if (px !== this.#seen.px || s.dpr !== this.#seen.dpr) {
      this.#sprites.clear();
      this.#seen.px = px;
      this.#seen.dpr = s.dpr;
    }
    // Twice, so that those who need somebody lie on top.
    this.#stamp(s, px, 0, TROUBLE - 1);
    this.#stamp(s, px, TROUBLE, 9);
    this.#g.globalAlpha = 1;
    if (s.hoverRow !== s.selectedRow) this.#drawRing(s, s.hoverRow, Math.max(px, 8), 0.55);
    this.#drawRing(s, s.selectedRow, Math.max(px, 10), 1);
  }

  #stamp(s: Scene, px: number, least: number, most: number): void {
    const g = this.#g, { fleet, width, height, camera } = s, { f32, u32 } = fleet;
    const side = spriteSide(px), off = side / 2, k = camera.scale;
    const left = width / 2 - camera.x * k, top = height / 2 + camera.y * k;
    const quiet = most < TROUBLE ? 0.72 + 0.28 * Math.min(1, Math.max(0, (px - 5) / 4)) : 1;
    let alpha = -1;
    for (let row = 0, o = 0; row < fleet.size; row++, o += WORDS) {
      const look = u32[o + 8]!, rank = look >>> 24;
      if ((look & 0xff) === ABSENT || rank < least || rank > most) continue;
      let t = (s.clock - f32[o + 6]!) / fleet.interval;
      t = t <= 0 ? 0 : t >= 1 ? 1 : t;
      const x = left + k * (f32[o]! + (f32[o + 2]! - f32[o]!) * t), y = top - k * (f32[o + 1]! + (f32[o + 3]! - f32[o + 1]!) * t);
      if (x < -off || y < -off || x > width + off || y > height + off) continue;
      const age = s.heard - f32[o + 7]!;
      let a = age <= 5 ? 1 : age >= 30 ? 0.45 : 1 - (0.55 * (age - 5)) / 25;
      a *= look & (MARK.dim << 16) ? 0.22 * quiet : quiet;
      if (a !== alpha) g.globalAlpha = alpha = a;
      g.drawImage(this.#sprite(s, px, look, f32[o + 5]!), x - off, y - off, side, side);
    }
  }

  #sprite(s: Scene, px: number, look: number, theta: number): HTMLCanvasElement {
    const step = px < 8 ? 0 : Math.round((theta / (2 * Math.PI)) * HEADINGS) & (HEADINGS - 1);
    const key = (look & 0xffff) | ((look & ((MARK.dim - 1) << 16)) >>> 0) | (step << 24);
    const known = this.#sprites.get(key);
    if (known) return known;
    if (this.#sprites.size >= MOST_SPRITES) this.#sprites.clear();
    const side = Math.ceil(spriteSide(px) * s.dpr);
    const c = Object.assign(document.createElement("canvas"), { width: side, height: side });
    const g = c.getContext("2d");
    if (g) {
      g.setTransform(s.dpr, 0, 0, s.dpr, side / 2, side / 2);
      drawRobot(g, SHAPES[look & 0xff] ?? "ring", (look >>> 16) & 0xff, px / 2, (step / HEADINGS) * 2 * Math.PI, inksOf(s, look));
    }
    this.#sprites.set(key, c);
    return c;
  }

  #drawRing(s: Scene, row: number, px: number, alpha: number): void {
    const { fleet } = s;
    if (!fleet.has(row)) return;
    const g = this.#g, look = fleet.u32[row * WORDS + 8]!, { css } = s.theme;
    g.save();
    g.translate(screenX(s.camera, s.width, fleet.xAt(row, s.clock)), screenY(s.camera, s.height, fleet.yAt(row, s.clock)));
    drawRobot(g, SHAPES[look & 0xff] ?? "ring", (look >>> 16) & 0xff, px / 2, fleet.f32[row * WORDS + 5]!, inksOf(s, look));
    g.globalAlpha = alpha;
    g.beginPath();
    g.arc(0, 0, 0.75 * px + 5, 0, 2 * Math.PI);
    g.strokeStyle = css["robot-outline"];
    g.lineWidth = 6;
    g.stroke();
    g.strokeStyle = css["select"];
    g.lineWidth = 3;
    g.stroke();
    g.restore();
  }
}

function inksOf(s: Scene, look: number): Inks {
  const { css } = s.theme;
  return { paint: css[PAINT_TOKENS[(look >>> 8) & 0xff] ?? "robot-offline"], outline: css["robot-outline"], strong: css["map-text"], alarm: css["robot-error"] };
}

function spriteSide(px: number): number {
  return px < 8 ? px + 4 : Math.ceil(1.7 * px + 4);
}

function wordOf(c: Rgba): number {
  return (Math.round(255 * c[0]) | (Math.round(255 * c[1]) << 8) | (Math.round(255 * c[2]) << 16) | 0xff000000) >>> 0;
}

function hatchOf(g: CanvasRenderingContext2D, colour: string): CanvasPattern | null {
  const tile = Object.assign(document.createElement("canvas"), { width: 10, height: 10 });
  const t = tile.getContext("2d");
  if (!t) return null;
  t.strokeStyle = colour;
  t.globalAlpha = 0.42;
  t.lineWidth = 1.4;
  for (const x of [-10, 0, 10]) {
    t.moveTo(x - 1, -1);
    t.lineTo(x + 11, 11);
  }
  t.stroke();
  return g.createPattern(tile, "repeat");
}
