// What the page costs with 10,000 and with 100,000 robots, by a trace of a real browser: `make bench-page`.
import { loadavg, cpus } from "node:os";
import { test, type Page } from "@playwright/test";
import { Starling } from "../e2e/server.js";
import { trace, type Quantiles, type Trace } from "./trace.js";

const SECONDS = 20;
const lines: string[] = [];

function say(line: string): void {
  lines.push(line);
  console.log(line);
}

function show(what: string, t: Trace): void {
  const q = (x: Quantiles): string => `P50 ${x.p50.toFixed(1)}, P99 ${x.p99.toFixed(1)}, max ${x.max.toFixed(1)} ms of ${x.n}`;
  say(`  ${what}: ${(t.frames / t.seconds).toFixed(1)} frames/s; script a frame ${q(t.frame)}; a message or timer ${q(t.other)};`);
  say(`    scripts ${(100 * t.scriptBusy).toFixed(1)} %, main thread ${(100 * t.mainBusy).toFixed(1)} %, the page's process ${(100 * t.pageCPU).toFixed(0)} %, graphics in software ${(100 * t.graphicsCPU).toFixed(0)} % of a core; ${t.longTasks} tasks over 50 ms; heap ${t.heapMB.toFixed(0)} MB [load ${loadavg()[0]!.toFixed(1)}]`);
}

async function open(page: Page, server: Starling, warehouse: string): Promise<void> {
  await page.goto(`${server.url}/?diagnostics&tab=none&warehouse=${warehouse}#token=${server.ready.token}`);
  await page.getByTestId("diagnostics").waitFor();
}

async function followed(page: Page, atLeast: number): Promise<void> {
  await page.waitForFunction((n) => Number(document.querySelector("[data-testid=diagnostics]")?.getAttribute("data-robots")) >= n, atLeast, { timeout: 60_000 });
}

/** Tasks that keep some robots moving. */
async function tasks(server: Starling, warehouse: string, places: (i: number) => [string, string], n: number): Promise<void> {
  for (let i = 0; i < n; i += 500) {
    const items = Array.from({ length: Math.min(500, n - i) }, (_, k) => {
      const [pickup, dropoff] = places(i + k);
      return { task_type: "transport" as const, warehouse_id: warehouse, payload: { pickup, dropoff } };
    });
    await server.api.create("/api/v1/tasks:batch", { body: { items } });
  }
}

test("10,000 robots at 1 Hz", async ({ page }) => {
  const server = await Starling.start();
  try {
    const id = server.ready.warehouse_id;
    await server.simulate(10_000);
    const map = await server.api.get("/api/v1/maps/{map_id}/versions/{n}", { path: { map_id: server.ready.map_id, n: 1 }, query: { limit: 500 } });
    const at = (i: number): string => map.vertices[i % map.vertices.length]!.id;
    await tasks(server, id, (i) => [at(i * 7), at(i * 13 + 40)], 500);
    say(`10,000 robots online at 1 status a second each, 500 tasks`);
    await open(page, server, "demo");
    await followed(page, 10_000);
    show("whole floor", await trace(page, SECONDS));
    for (let i = 0; i < 4; i++) await page.getByRole("button", { name: "Zoom in" }).click();
    await page.waitForTimeout(2_000);
    show("zoomed in", await trace(page, SECONDS));
    await page.goto(`${server.url}/?diagnostics&tab=robots`);
    await followed(page, 10_000);
    show("with the table of robots", await trace(page, SECONDS));
  } finally {
    await server.stop();
  }
});

test("100,000 robots as zones", async ({ page }) => {
  const server = await Starling.start();
  try {
    const { warehouse_id: id } = await server.api.create("/api/v1/warehouses", { body: { warehouse_code: "large", name: "Large", timezone: "UTC" } });
    const rows = 330, cols = 400;
    const content = `type octile\nheight ${rows}\nwidth ${cols}\nmap\n${Array.from({ length: rows }, (_, r) => Array.from({ length: cols }, (_, c) => (r % 6 === 3 && c % 10 > 1 ? "@" : ".")).join("")).join("\n")}\n`;
    const map = await server.api.create("/api/v1/maps", { body: { warehouse_id: id, name: "large", format: "movingai", content } });
    await server.api.post("/api/v1/maps/{map_id}/versions/{n}/activate", { path: { map_id: map.map_id, n: 1 } });
    await server.simulate(100_000, { warehouse: id, statusEvery: "4s", minutes: 30 });
    say(`100,000 robots online at 1 status in 4 s each, ${rows} x ${cols} cells`);
    await open(page, server, "large");
    show("whole floor, as zones", await trace(page, SECONDS));
    for (let i = 0; i < 6; i++) await page.getByRole("button", { name: "Zoom in" }).click();
    await followed(page, 100);
    const near = await page.getByTestId("diagnostics").getAttribute("data-robots");
    show(`zoomed in, ${near} robots in view`, await trace(page, SECONDS));
  } finally {
    await server.stop();
  }
});

test.beforeAll(({ browser }) => say(`Chromium ${browser.version()}, ${cpus().length} x ${cpus()[0]!.model}, no graphics card; ${SECONDS} s each`));
