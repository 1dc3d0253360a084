import { CanvasPainter } from "./canvas.js";
import { GlPainter } from "./gl.js";
import type { Painter } from "./scene.js";

/** A context that is lost twice within this time is not asked for again. */
const LOST_AGAIN_MS = 60_000;
/** So long a lost context is waited for. */
const RESTORE_MS = 4_000;

/**
 * The two canvases of the map, one that is painted and one above it with what is written, and the painter: WebGL where it is to be
 * had, canvas where it is not, was lost for good, or was asked for.
 */
export class Surface {
  /** What is written lies here. */
  readonly over: HTMLCanvasElement;
  readonly pen: CanvasRenderingContext2D;
  /** null while a lost context is waited for. */
  painter: Painter | null = null;

  #host: HTMLElement;
  #changed: () => void;
  #ground: HTMLCanvasElement;
  #lostAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #kind: "webgl" | "canvas" = "webgl";

  /** `changed` = there is a new painter, which has painted nothing yet. */
  constructor(host: HTMLElement, forced: "webgl" | "canvas" | undefined, changed: () => void) {
    this.#host = host;
    this.#changed = changed;
    this.#ground = layer(host);
    this.over = layer(host);
    const pen = this.over.getContext("2d");
    if (!pen) throw new Error("this browser has no canvas");
    this.pen = pen;
    if (forced === "canvas" || !this.#startGl()) this.#startCanvas();
  }

  get kind(): "webgl" | "canvas" {
    return this.#kind;
  }

  /** Gives both canvases their size in device pixels; they are empty afterwards where it changed. */
  resize(width: number, height: number, dpr: number): boolean {
    const w = Math.max(1, Math.round(width * dpr)), h = Math.max(1, Math.round(height * dpr));
    if (this.#ground.width === w && this.#ground.height === h) return false;
    for (const c of [this.#ground, this.over]) [c.width, c.height] = [w, h];
    return true;
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#dropGround();
    this.over.remove();
  }

  #startGl(): boolean {
    const gl = this.#ground.getContext("webgl2", { alpha: false, antialias: false, depth: true, stencil: false, powerPreference: "low-power" });
    if (!gl) return false;
    try {
      this.painter = new GlPainter(gl);
    } catch {
      return this.#replaceGround(); // a driver that refuses our shaders is a driver without WebGL
    }
    this.#kind = "webgl";
    this.#ground.addEventListener("webglcontextlost", this.#lost);
    this.#ground.addEventListener("webglcontextrestored", this.#restored);
    return true;
  }

  #startCanvas(): void {
    const g = this.#ground.getContext("2d", { alpha: false });
    if (!g) throw new Error("this browser has no canvas");
    this.#kind = "canvas";
    this.painter = new CanvasPainter(g);
  }

  #lost = (e: Event): void => {
    e.preventDefault(); // otherwise it is never restored
    this.painter = null;
    const now = performance.now();
    const again = now - this.#lostAt < LOST_AGAIN_MS;
    this.#lostAt = now;
    if (again) this.#giveUp();
    else this.#await();
  };

  // A machine that sleeps, or a tab that is hidden, restores nothing meanwhile.
  #await(): void {
    this.#timer = setTimeout(() => (document.hidden ? this.#await() : this.#giveUp()), RESTORE_MS);
  }

  #restored = (): void => {
    clearTimeout(this.#timer);
    if (this.#kind !== "webgl" || this.painter) return;
    const gl = this.#ground.getContext("webgl2");
    try {
      if (gl) this.painter = new GlPainter(gl);
    } catch {
      this.painter = null;
    }
    if (this.painter) this.#changed();
    else this.#giveUp();
  };

  #giveUp(): void {
    clearTimeout(this.#timer);
    this.#replaceGround();
    this.#startCanvas();
    this.#changed();
  }

  // A canvas that once gave a WebGL context gives no other: a fresh one takes its place.
  #replaceGround(): false {
    this.#dropGround();
    this.#ground = layer(this.#host, this.over);
    return false;
  }

  #dropGround(): void {
    this.#ground.removeEventListener("webglcontextlost", this.#lost);
    this.#ground.removeEventListener("webglcontextrestored", this.#restored);
    this.painter?.destroy();
    this.painter = null;
    this.#ground.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
    this.#ground.remove();
  }
}

function layer(host: HTMLElement, before: Element | null = null): HTMLCanvasElement {
  const c = document.createElement("canvas");
  c.setAttribute("aria-hidden", "true");
  c.style.cssText = "position:absolute;inset:0;width:100%;height:100%;display:block";
  // Below whatever the page itself lays over the map.
  host.insertBefore(c, before ?? host.querySelector(":scope > :not(canvas)"));
  return c;
}
