// The floor as a hand and an eye meet it: metres of the map to pixels of the screen.
import { expect, type Page } from "@playwright/test";
import type { Starling } from "./server.js";

export interface Spot {
  vertex: string;
  x: number;
  y: number;
}

export class Floor {
  readonly #page: Page;

  constructor(page: Page) {
    this.#page = page;
  }

  get map() {
    return this.#page.getByRole("application", { name: /Map of the floor/ });
  }

  /** Where the camera looks, as the link of the page says. */
  camera(): { x: number; y: number; scale: number } | null {
    const at = new URL(this.#page.url()).searchParams.get("at");
    if (at === null) return null;
    const [x = NaN, y = NaN, scale = NaN] = at.split(",").map(Number);
    return { x, y, scale };
  }

  /** Waits until the camera looks at a spot, at least this near. */
  async looksAt(spot: { x: number; y: number }, scale = 14): Promise<void> {
    await expect
      .poll(() => {
        const c = this.camera();
        return c !== null && Math.hypot(c.x - spot.x, c.y - spot.y) < 0.2 && c.scale >= scale * 0.99;
      }, { message: `the camera goes to ${spot.x}, ${spot.y}` })
      .toBe(true);
  }

  /** The camera when it has come to rest: the map follows its frame, and the link the camera, a moment later. */
  async settled(): Promise<{ x: number; y: number; scale: number }> {
    let at = this.camera();
    await expect
      .poll(() => {
        const before = JSON.stringify(at);
        at = this.camera();
        return at !== null && JSON.stringify(at) === before;
      }, { message: "the camera comes to rest", intervals: [1_500] })
      .toBe(true);
    return at!;
  }

  /** Where a spot is on the screen. */
  async pixel(spot: { x: number; y: number }): Promise<{ x: number; y: number }> {
    const c = this.camera();
    const box = await this.map.boundingBox();
    if (c === null || box === null) throw new Error("there is no map yet");
    return { x: box.x + box.width / 2 + (spot.x - c.x) * c.scale, y: box.y + box.height / 2 - (spot.y - c.y) * c.scale };
  }

  async click(spot: { x: number; y: number }): Promise<void> {
    const { x, y } = await this.pixel(spot);
    await this.#page.mouse.click(x, y);
  }

  /** The picture around a spot, as bytes that are the same where it is the same. */
  async picture(spot: { x: number; y: number }, halfPx: number): Promise<Buffer> {
    return this.#around(await this.pixel(spot), halfPx);
  }

  #around({ x, y }: { x: number; y: number }, halfPx: number): Promise<Buffer> {
    return this.#page.screenshot({ clip: { x: x - halfPx, y: y - halfPx, width: 2 * halfPx, height: 2 * halfPx } });
  }

  /** How many pixels around a spot have the colour of a token of the page's style. */
  async pixelsOf(token: string, spot: { x: number; y: number }, halfPx = 30): Promise<number> {
    return this.pixelsAt(token, await this.pixel(spot), halfPx);
  }

  /** As {@link pixelsOf}, around a point of the screen. */
  async pixelsAt(token: string, at: { x: number; y: number }, halfPx: number): Promise<number> {
    const bytes = [...(await this.#around(at, halfPx))];
    return this.#page.evaluate(
      async ([png, name]) => {
        const image = await createImageBitmap(new Blob([new Uint8Array(png)], { type: "image/png" }));
        const canvas = new OffscreenCanvas(image.width, image.height);
        const pen = canvas.getContext("2d", { willReadFrequently: true })!;
        pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
        pen.fillRect(0, 0, 1, 1);
        const [r = 0, g = 0, b = 0] = pen.getImageData(0, 0, 1, 1).data;
        pen.drawImage(image, 0, 0);
        const { data } = pen.getImageData(0, 0, image.width, image.height);
        let n = 0;
        for (let i = 0; i < data.length; i += 4) if (Math.abs(data[i]! - r) + Math.abs(data[i + 1]! - g) + Math.abs(data[i + 2]! - b) < 24) n++;
        return n;
      },
      [bytes, token] as const,
    );
  }
}

/** The demo's floor: which cells are free. */
export class Cells {
  readonly #free: Buffer;
  readonly #rows: number;
  readonly #cols: number;

  private constructor(free: Buffer, rows: number, cols: number) {
    this.#free = free;
    this.#rows = rows;
    this.#cols = cols;
  }

  static async of(server: Starling): Promise<Cells> {
    const plan = await server.api.get("/api/v1/maps/{map_id}/versions/{n}/floor-plan", { path: { map_id: server.ready.map_id, n: 1 } });
    if (!plan.grid) throw new Error("the demo's map is a grid");
    return new Cells(Buffer.from(plan.grid.free, "base64"), plan.grid.rows, plan.grid.cols);
  }

  /** Free cells around a spot, the nearest first, from `least` metres on. */
  near(spot: { x: number; y: number }, least: number): Spot[] {
    const out: (Spot & { far: number })[] = [];
    for (let cell = 0; cell < this.#rows * this.#cols; cell++) {
      if (((this.#free[cell >> 3]! >> (cell & 7)) & 1) === 0) continue;
      const x = (cell % this.#cols) + 0.5, y = this.#rows - Math.floor(cell / this.#cols) - 0.5;
      const far = Math.abs(x - spot.x) + Math.abs(y - spot.y);
      if (far >= least && far < least + 20) out.push({ vertex: String(cell), x, y, far });
    }
    return out.sort((a, b) => a.far - b.far);
  }
}

export interface Bot {
  id: string;
  code: string;
  x: number;
  y: number;
  vertex: string;
}

/** Robots that stand somewhere and have nothing to do, by their codes. */
export async function idle(server: Starling): Promise<Bot[]> {
  const out: Bot[] = [];
  for await (const r of server.api.items("/api/v1/robots", { query: { warehouse_id: server.ready.warehouse_id, limit: 500 } })) {
    if (r.connection === "ONLINE" && r.state === "IDLE" && r.task_id === null && r.pose && r.vertex) out.push({ id: r.robot_id, code: r.robot_code, x: r.pose.x, y: r.pose.y, vertex: r.vertex });
  }
  return out.sort((a, b) => (a.code < b.code ? -1 : 1));
}
