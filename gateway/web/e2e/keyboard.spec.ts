import type { Page } from "@playwright/test";
import { idle } from "./floor.js";
import { expect, rows, side, table, test } from "./rig.js";

test("each shortcut of the list does what the list says", async ({ page, server, visit, floor }) => {
  const [robot] = await idle(server);
  await visit({ query: `at=${robot!.x},${robot!.y},20` });
  await floor.looksAt(robot!, 20);
  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keys and signs" });
  await expect(help).toBeVisible();
  // The box has the focus when the list opens, and for a moment after it has closed.
  await expect(help.getByRole("checkbox")).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(help).toBeHidden();

  for (const [key, name] of [["2", "Robots"], ["3", "Zones"], ["4", "Charts"], ["1", "Tasks"]] as const) {
    await page.keyboard.press(key);
    await expect(page.getByRole("tab", { name })).toHaveAttribute("aria-selected", "true");
  }
  await page.keyboard.press("1");
  await expect(page.getByRole("tabpanel")).toBeHidden();
  await page.getByLabel("Layers").click();
  await page.getByRole("checkbox", { name: "Names" }).check(); // who has ticked a box goes on with the keys
  await page.keyboard.press("2");
  await expect(page.getByRole("tab", { name: "Robots" })).toHaveAttribute("aria-selected", "true");
  await page.keyboard.press("2");
  await expect(page.getByRole("tabpanel")).toBeHidden();
  await page.keyboard.press("f");
  await floor.looksAt({ x: 250, y: 70 }, 1);

  await page.keyboard.press("n");
  await expect(page.getByRole("form", { name: "New task" })).toBeVisible();
  await page.getByLabel("Pick up at").focus();
  await page.keyboard.type("n2?"); // where somebody types these are letters
  await expect(page.getByLabel("Pick up at")).toHaveValue("n2?");
  await expect(help).toBeHidden();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("form", { name: "New task" })).toHaveCount(0);

  await floor.map.focus();
  const before = await floor.settled(); // it has more room since the form is gone
  await page.keyboard.press("+");
  await expect.poll(() => floor.camera()!.scale).toBeGreaterThan(before.scale);
  await page.keyboard.press("ArrowRight");
  await expect.poll(() => floor.camera()!.x).toBeGreaterThan(before.x);
  await page.keyboard.press("-");
  await expect.poll(() => floor.camera()!.scale).toBeCloseTo(before.scale, 1);
});

test("a table is walked through by arrows", async ({ page, visit }) => {
  await visit({ query: "tab=robots" });
  await rows(page, "Robots").first().focus();
  for (let i = 0; i < 20; i++) {
    await page.keyboard.press("ArrowDown");
    await expect(table(page, "Robots").locator(`[aria-rowindex="${i + 3}"]`)).toBeFocused();
  }
  await page.keyboard.press("ArrowUp");
  const row = table(page, "Robots").locator('[aria-rowindex="21"]');
  await expect(row).toBeFocused();
  await expect(row).toBeInViewport();
  await page.keyboard.press("Enter");
  await expect(row).toHaveAttribute("aria-current", "true");
  await expect(side(page).getByRole("heading", { level: 2 })).toHaveText((await row.getByRole("cell").first().textContent())!);
  await page.keyboard.press("Escape");
  await expect(side(page)).toBeHidden();
});

test("the tab key reaches every control, in sight", async ({ page, server, visit }) => {
  const [robot] = await idle(server);
  await visit({ query: `tab=robots&robot=${robot!.id}` });
  await expect(side(page).getByRole("group", { name: "Commands" })).toBeVisible();
  await expectAllReached(page);
  await page.keyboard.press("1");
  await page.keyboard.press("n");
  await expect(page.getByRole("form", { name: "New task" })).toBeVisible();
  await expectAllReached(page);
});

/** Goes round by Tab and holds what had the focus against what can be pressed. Rows of tables are walked by arrows: one is enough. */
async function expectAllReached(page: Page): Promise<void> {
  await page.evaluate(() => {
    document.querySelectorAll("[data-reached]").forEach((e) => e.removeAttribute("data-reached"));
    (document.activeElement as HTMLElement | null)?.blur();
  });
  let round = false;
  for (let i = 0; i < 200 && !round; i++) {
    await page.keyboard.press("Tab");
    round = await page.evaluate(() => {
      const at = document.activeElement!;
      const first = document.querySelector("[data-reached=first]");
      if (at === first) return true;
      if (at !== document.body) at.setAttribute("data-reached", first ? "" : "first"); // a field for a date is several stops and stays the same element
      return false;
    });
  }
  expect(round, "Tab comes round").toBe(true);
  const missed = await page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>("a[href], button, input, select, textarea, summary, [tabindex='0']")]
      .filter((e) => e.checkVisibility() && !(e as HTMLButtonElement).disabled && !e.hasAttribute("data-reached") && e.getAttribute("role") !== "row")
      .map((e) => e.outerHTML.slice(0, 120)),
  );
  expect(missed.filter((html) => !/type="radio"/.test(html)), "not to be reached by Tab").toEqual([]);
}
