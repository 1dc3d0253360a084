import { PAINTS, type Paint } from "./look.js";

/** Red, green, blue, alpha, each 0..1. */
export type Rgba = readonly [number, number, number, number];

// The light theme, for a page that defines nothing.
const defaults = {
  "floor-free": "#fbfcfd",
  "floor-blocked": "#ccd3db",
  "floor-lane": "#c3cad4",
  "zone-line": "#8491a1",
  "zone-keep-out": "#b3261e",
  "zone-slow": "#b7791f",
  "zone-parking": "#3d6fb4",
  "zone-charging": "#1f7a4d",
  "heat-0": "#e3edf6",
  "heat-1": "#9fc5e5",
  "heat-2": "#f0a247",
  "heat-3": "#b3251e",
  "flow-0": "#c98500",
  "flow-1": "#c2500c",
  "flow-2": "#8c1d5b",
  "flow-3": "#3a0a52",
  wait: "#8a5a00",
  "wait-ring": "#c23a00",
  "robot-idle": "#66727f",
  "robot-moving": "#1b66c9",
  "robot-waiting": "#e09600",
  "robot-charging": "#0f8a62",
  "robot-paused": "#7454bd",
  "robot-error": "#c4221a",
  "robot-manual": "#a82a8a",
  "robot-offline": "#7d8894",
  "robot-outline": "#ffffff",
  select: "#0b1f3a",
  "order-base": "#1b66c9",
  "order-horizon": "#5d8fd6",
  "mark-pickup": "#0f7a57",
  "mark-dropoff": "#8a3ab0",
  "map-text": "#1d2733",
  "map-text-halo": "#ffffff",
} as const;

/** The custom properties that the map reads from its host, without the dashes in front. */
export type Token = keyof typeof defaults;
/** All of them. */
export const TOKENS = Object.keys(defaults) as Token[];

/** The colours of the map, resolved. */
export class Theme {
  /** As CSS, for canvases. */
  readonly css = { ...defaults } as Record<Token, string>;
  /** As numbers, for shaders and mixing. */
  readonly rgba = {} as Record<Token, Rgba>;
  /** What lies around the floor. */
  ground: Rgba = [1, 1, 1, 1];
  /** Whether the floor is darker than what is written on it. */
  dark = false;
  /** The font of the page. */
  font = "system-ui, sans-serif";

  #probe: CanvasRenderingContext2D | null = null;

  /** Reads the custom properties anew. */
  read(host: HTMLElement): void {
    const style = getComputedStyle(host);
    for (const name of TOKENS) {
      this.css[name] = style.getPropertyValue(`--${name}`).trim() || defaults[name];
      this.rgba[name] = this.#resolve(this.css[name]);
    }
    this.ground = this.rgba["floor-blocked"];
    for (let e: HTMLElement | null = host; e; e = e.parentElement) {
      const c = this.#resolve(getComputedStyle(e).backgroundColor);
      if (c[3] === 1) {
        this.ground = c;
        break;
      }
    }
    this.font = style.fontFamily || this.font;
    this.dark = brightness(this.rgba["floor-free"]) < brightness(this.rgba["map-text"]);
  }

  #resolve(css: string): Rgba {
    this.#probe ??= Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    const g = this.#probe;
    if (!g) return [0.5, 0.5, 0.5, 1];
    g.clearRect(0, 0, 1, 1);
    g.fillStyle = "#808080";
    g.fillStyle = css;
    g.fillRect(0, 0, 1, 1);
    const [r = 0, green = 0, b = 0, a = 255] = g.getImageData(0, 0, 1, 1).data;
    return [r / 255, green / 255, b / 255, a / 255];
  }
}

/** The token of a robot's colour. */
export function tokenOf(p: Paint): Token {
  return p === "parking" ? "zone-parking" : p === "charging-place" ? "zone-charging" : `robot-${p}`;
}

/** The tokens of {@link PAINTS}, in their order. */
export const PAINT_TOKENS: readonly Token[] = PAINTS.map(tokenOf);

/** Relative luminance, 0..1, as WCAG counts it. */
export function brightness(c: Rgba): number {
  const linear = (v: number) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
}

/** The contrast of two colours, 1..21, as WCAG counts it. */
export function contrast(a: Rgba, b: Rgba): number {
  const x = brightness(a) + 0.05, y = brightness(b) + 0.05;
  return Math.max(x, y) / Math.min(x, y);
}

/** The colour `t` of the way from `a` to `b`. */
export function mixed(a: Rgba, b: Rgba, t: number): Rgba {
  return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t, a[3] + (b[3] - a[3]) * t];
}

/** A colour as CSS, its alpha replaced. */
export function cssOf(c: Rgba, alpha = c[3]): string {
  return `rgb(${Math.round(c[0] * 255)} ${Math.round(c[1] * 255)} ${Math.round(c[2] * 255)} / ${alpha})`;
}
