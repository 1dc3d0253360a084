// Recordings of scenarios, made by the program and played by the page.
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import { fitted } from "../src/map/camera.js";
import { type Film, type FilmRobot, type Frame, parseFilm } from "../src/film.js";
import { attention, expect, live, ROBOTS, rows, test } from "./rig.js";
import { expectAccessible, picture } from "./shot.js";

const SCENARIO = "swap-passing-place";
let folder = "", file = "";
let film: Film;

test.beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "starling-film-"));
  file = join(folder, "film.json");
  const program = process.env["STARLING"] ?? fileURLToPath(new URL("../../../bin/starling", import.meta.url));
  const run = spawnSync(program, ["sim", "--scenario", SCENARIO, "--out", file], { encoding: "utf8" });
  expect(run.status, run.stderr).toBe(0);
  film = parseFilm(await readFile(file, "utf8"));
});
test.afterAll(() => rm(folder, { recursive: true, force: true }));

const choose = (page: Page, path: string) => page.locator("input[type=file]").setInputFiles(path);
const position = (page: Page) => page.getByTestId("position");
const frame = async (page: Page): Promise<number> => Number(await position(page).getAttribute("data-frame"));
const map = (page: Page) => page.getByRole("application", { name: /Map of the recording/ });

/** Where a place of the recording is on the screen. */
async function pixel(page: Page, x: number, y: number): Promise<{ x: number; y: number }> {
  const box = (await map(page).boundingBox())!;
  const c = fitted([0, 0, film.cols * film.cell, film.rows * film.cell], box.width, box.height);
  return { x: box.x + box.width / 2 + (x - c.x) * c.scale, y: box.y + box.height / 2 - (y - c.y) * c.scale };
}

test("a recording is opened, played, stepped and searched, by keys too", async ({ page, visit }) => {
  await visit({ query: "tab=none&diagnostics" });
  await page.getByLabel(/^Signed in as/).click();
  await page.getByRole("button", { name: "Play a recording" }).click();
  await expect(page.getByRole("heading", { name: "No recording is open" })).toBeVisible();
  await expect(page).toHaveURL(/play=1/);
  await expectAccessible(page, "the player without a recording");
  await choose(page, file);
  await expect(page.getByRole("heading", { level: 1 })).toContainText(film.title);
  // Nothing of the live floor is to be seen.
  await expect(page.getByText("Recording — nothing of this is the live floor")).toBeVisible();
  await expect(attention(page)).toHaveCount(0);
  await expect(page.getByTestId("age")).toHaveCount(0);
  await expect(page.getByRole("application", { name: /Map of the floor/ })).toHaveCount(0);

  expect(await frame(page)).toBe(0);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press(".");
  await expect(position(page)).toHaveText(`${film.frames[2]!.t.toFixed(2)} s of ${film.frames.at(-1)!.t.toFixed(2)} s`);
  await page.keyboard.press("ArrowLeft");
  expect(await frame(page)).toBe(1);
  await page.keyboard.press("End");
  expect(await frame(page)).toBe(film.frames.length - 1);
  await page.keyboard.press("Home");
  await page.getByRole("slider", { name: "Position" }).fill("12");
  expect(await frame(page)).toBe(12);
  await page.getByRole("slider", { name: "Position" }).press("ArrowRight");
  expect(await frame(page), "the slider has its own keys").toBe(13);

  await map(page).click({ position: { x: 5, y: 5 } });
  await page.getByRole("button", { name: "Play", exact: true }).click();
  await expect(page.getByRole("button", { name: "Pause" })).toBeVisible();
  await expect.poll(() => frame(page), { message: "it goes on by itself" }).toBeGreaterThan(14);
  await page.getByLabel("Speed").selectOption("8 ×");
  await expect(page.getByRole("button", { name: "Play", exact: true }), "at the end it stands").toBeVisible();
  expect(await frame(page)).toBe(film.frames.length - 1);

  await page.getByRole("button", { name: "Close the player" }).click();
  await live(page);
  await expect(attention(page)).toBeVisible();
  await expect(page).not.toHaveURL(/play/);
  await expect(page.getByTestId("diagnostics")).toHaveAttribute("data-robots", String(ROBOTS));
});

test("who waits for whom is drawn and told, events lead to their time", async ({ page, server, context, calm, floor }) => {
  calm.follow(context, server);
  const tells = (f: Frame): FilmRobot | undefined => f.robots.find((r) => r.waits_for !== "" && f.events.some((e) => e.startsWith(`${r.id}  waits for ${r.waits_for} `)));
  const at = film.frames.findIndex((f) => tells(f) !== undefined);
  const now = film.frames[at]!, waiter = tells(now)!, holder = now.robots.find((r) => r.id === waiter.waits_for)!;
  await page.goto(`${server.url}/?play=1`);
  await choose(page, file);
  const event = rows(page, "Events").filter({ hasText: `${now.t.toFixed(2)} s` }).filter({ hasText: `${waiter.id} waits for ${holder.id}` }).first();
  await expect(async () => {
    // Only the rows in view are in the document.
    await page.locator(".happened .rows").evaluate((e) => (e.scrollTop += 120));
    await expect(event).toBeVisible({ timeout: 500 });
  }).toPass();
  await event.click();
  expect(await frame(page)).toBe(at);
  await expect(event).toHaveAttribute("aria-current", "true");
  const waiting = page.getByRole("list", { name: "Robots that wait" });
  await expect(waiting.getByRole("listitem").filter({ hasText: `${waiter.id} for ${holder.id}` })).toBeVisible();

  const spot = await pixel(page, (waiter.x + holder.x) / 2, (waiter.y + holder.y) / 2);
  // Just then each waits for the other: a ring.
  expect(holder.waits_for).toBe(waiter.id);
  await expect.poll(() => floor.pixelsAt("--wait-ring", spot, 12)).toBeGreaterThan(10);
  const on = await pixel(page, waiter.x, waiter.y);
  await page.mouse.click(on.x, on.y);
  const robot = page.getByRole("region", { name: "Robot" });
  await expect(robot.getByRole("heading")).toHaveText(`Robot ${waiter.id}`);
  await expect(robot).toContainText(`${waiter.id} waits for ${holder.id}`);
  await expect.poll(() => floor.pixelsAt("--select", spot, 12)).toBeGreaterThan(10);
  await expectAccessible(page, "the player, light");
  await picture(page, "player");
  await page.getByRole("button", { name: "Use the dark theme" }).click();
  await expectAccessible(page, "the player, dark");

  // Later one waits for the other.
  await page.keyboard.press("Escape");
  const later = film.frames.findIndex((f, i) => i > at && f.robots.filter((r) => r.waits_for !== "").length === 1);
  await page.getByRole("slider", { name: "Position" }).fill(String(later));
  const one = film.frames[later]!.robots.find((r) => r.waits_for !== "")!, two = film.frames[later]!.robots.find((r) => r.id === one.waits_for)!;
  const between = await pixel(page, (one.x + two.x) / 2, (one.y + two.y) / 2);
  await expect.poll(() => floor.pixelsAt("--wait", between, 12)).toBeGreaterThan(10);
  expect(await floor.pixelsAt("--wait-ring", between, 12)).toBe(0);
  await waiting.getByRole("button", { name: waiter.id }).first().click();

  // At the end the robots stand where the recording has them.
  await page.keyboard.press("End");
  const last = film.frames.at(-1)!.robots.find((r) => r.id === waiter.id)!;
  const end = await pixel(page, last.x, last.y);
  await expect.poll(() => floor.pixelsAt("--select", end, 40)).toBeGreaterThan(20);
  await page.keyboard.press("Escape");
  await expect.poll(() => floor.pixelsAt("--select", end, 40)).toBe(0);
});

test("what cannot be played says why, and what was open stays", async ({ page, server, context, calm }) => {
  calm.follow(context, server);
  const bad = join(folder, "bad.json"), text = join(folder, "text.json");
  const broken = JSON.parse(await readFile(file, "utf8")) as { frames: { robots: { x: unknown }[] }[] };
  broken.frames[3]!.robots[1]!.x = "far";
  await writeFile(bad, JSON.stringify(broken));
  await writeFile(text, "no recording");
  // Nobody has to sign in for it.
  await page.goto(`${server.url}/?play=1`);
  await choose(page, text);
  const alert = page.getByRole("alert");
  await expect(alert).toContainText("text.json: this is no JSON");
  await expect(page.getByRole("heading", { name: "No recording is open" })).toBeVisible();

  // Dropped anywhere.
  const drop = async (name: string, content: string): Promise<void> => {
    const data = await page.evaluateHandle(([n, c]) => {
      const d = new DataTransfer();
      d.items.add(new File([c], n, { type: "application/json" }));
      return d;
    }, [name, content] as const);
    await page.locator("body").dispatchEvent("drop", { dataTransfer: data });
  };
  await drop("film.json", await readFile(file, "utf8"));
  await expect(page.getByRole("heading", { level: 1 })).toContainText(film.title);
  await expect(alert).toHaveCount(0);
  await drop("bad.json", await readFile(bad, "utf8"));
  await expect(alert).toContainText('bad.json: frames[3].robots[1].x: want a number, got "far" What was open stays open.');
  await expect(page.getByRole("heading", { level: 1 })).toContainText(film.title);
  await page.getByRole("button", { name: "Close the player" }).click();
  await expect(page.getByText("Sign in to see the warehouse.")).toBeVisible();
  await page.getByRole("button", { name: "play a recording of a scenario" }).click();
  await expect(page.getByRole("heading", { name: "No recording is open" })).toBeVisible();
});
