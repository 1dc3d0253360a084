// Pictures of the views for the documents, and their check by axe.
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { expect, type Page } from "@playwright/test";
import { reduced } from "./png.js";

/** A picture in the checkout stays small. */
const MOST_BYTES = 250_000;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];

interface Found {
  violations: { id: string; help: string; nodes: { html: string; failureSummary?: string }[] }[];
  passes: unknown[];
}

/** Holds what is seen against WCAG 2.1 AA. */
export async function expectAccessible(page: Page, view: string): Promise<void> {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate((rules) => (window as unknown as { axe: { run(o: object): Promise<Found> } }).axe.run({ runOnly: { type: "tag", values: rules } }), RULES);
  const said = violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${v.help}\n  ${n.html}\n  ${n.failureSummary ?? ""}`));
  expect.soft(said, `WCAG AA: ${view}`).toEqual([]);
  expect(passes.length, "rules that had something to look at").toBeGreaterThan(5);
}

/** Keeps a picture of the page in docs/img where SCREENSHOTS=1 asks for it; a run without it leaves the checkout as it is. */
export async function picture(page: Page, name: string): Promise<void> {
  if (process.env["SCREENSHOTS"] !== "1") return;
  await page.mouse.move(0, 0);
  const whole = await page.screenshot({ scale: "css", animations: "disabled" });
  const png = whole.length > MOST_BYTES ? await reduced(page, whole) : whole;
  expect(png.length, `size of ${name}.png`).toBeLessThan(MOST_BYTES);
  await writeFile(fileURLToPath(new URL(`../../../docs/img/${name}.png`, import.meta.url)), png);
}
