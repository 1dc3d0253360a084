import { readFile } from "node:fs/promises";
import type { BrowserContext, Page, Request } from "@playwright/test";
import { answered, expect, live, rows } from "./rig.js";
import { SOUTH, signIn, signInAtKeycloak, test } from "./issuer.js";
import { expectAccessible } from "./shot.js";

const FAR = 300;

test.beforeEach(({ context, calm, served, keycloak }) => calm.follow(context, served, keycloak.origin));
test.afterEach(({ keycloak }) => keycloak.setRealm({ accessTokenLifespan: FAR, revokeRefreshToken: false }));

const account = (page: Page) => page.getByLabel(/^Signed in as/);
const enter = (page: Page) => page.getByRole("button", { name: "Sign in", exact: true });
const isToken = (r: Request): boolean => r.method() === "POST" && r.url().endsWith("/protocol/openid-connect/token");

/** Everything that anybody could read over one's shoulder: addresses, as asked for and as kept, and what stands in the console. */
class Seen {
  readonly #all: string[] = [];

  constructor(context: BrowserContext) {
    context.on("request", (r) => this.#all.push(r.url()));
    context.on("console", (m) => this.#all.push(m.text()));
    const follow = (p: Page): void => void p.on("framenavigated", (f) => this.#all.push(f.url())); // each is a history entry
    context.pages().forEach(follow);
    context.on("page", follow);
  }

  expectNone(secrets: string[]): void {
    expect(secrets.length).toBeGreaterThan(2);
    for (const secret of secrets) {
      expect(secret.length, "a secret").toBeGreaterThan(20);
      expect(this.#all.filter((s) => s.includes(secret))).toEqual([]);
    }
  }
}

test("an operator signs in at Keycloak, sees the tenant's floor, and signs out of both", async ({ page, context, served, keycloak }) => {
  const seen = new Seen(context);
  await page.goto(`${served.url}/?tab=robots`);
  await expect(enter(page)).toBeVisible();
  await expectAccessible(page, "signing in");
  await enter(page).click();
  await signInAtKeycloak(page, "operator-north", "wrong");
  await expect(page.getByText("Invalid username or password.")).toBeVisible();

  const asked = page.waitForRequest(isToken);
  await signInAtKeycloak(page, "operator-north", "operator-north-password");
  const given = await (await asked).response().then((r) => r!.json() as Promise<Record<string, string>>);
  await live(page);
  await expect(page.getByRole("combobox", { name: "Warehouse" })).toHaveText("North");
  await expect(rows(page, "Robots")).toHaveCount(1);
  expect(new URL(page.url()).search, "the place that was left").toContain("tab=robots");
  await rows(page, "Robots").click();
  await expect(page.getByRole("group", { name: "Commands" })).toBeVisible();

  await account(page).click();
  await expect(page.getByText("Operator North").first()).toBeVisible();
  await expect(page.getByText("North Hall")).toBeVisible();
  await expectAccessible(page, "who is signed in");
  await page.reload();
  await live(page);
  expect(await keycloak.sessions("operator-north")).toBe(1);

  await account(page).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(enter(page)).toBeVisible();
  await expect.poll(() => keycloak.sessions("operator-north")).toBe(0);
  await enter(page).click();
  await expect(page.locator("#kc-login"), "Keycloak asks again").toBeVisible();
  const code = new URLSearchParams((await asked).postData()!);
  seen.expectNone([given["access_token"]!, given["refresh_token"]!, given["id_token"]!, code.get("code_verifier")!]);
});

test("a viewer whose clock is ten minutes fast signs in, and may look, not command", async ({ page, served, keycloak }) => {
  await page.clock.setSystemTime(Date.now() + 600_000);
  await signIn(page, keycloak, served, "viewer-north", "?tab=robots");
  await live(page);
  await rows(page, "Robots").click();
  await expect(page.getByText("Your role may look, not command.")).toBeVisible();
  await expect(page.getByRole("group", { name: "Commands" })).toHaveCount(0);
  await page.keyboard.press("1");
  await expect(page.getByRole("button", { name: "New task" })).toHaveCount(0);
});

test("the sign-in is renewed without a reload, in every window that has it", async ({ page, context, served, keycloak }) => {
  await keycloak.setRealm({ accessTokenLifespan: 5, revokeRefreshToken: true }); // a refresh token works once
  await signIn(page, keycloak, served, "operator-north");
  await live(page);
  await page.evaluate(() => ((window as unknown as { same: boolean }).same = true));
  // A duplicate has the same session, as the browser's own "duplicate" makes it.
  const opened = context.waitForEvent("page");
  await page.evaluate(() => void window.open("/"));
  const twin = await opened;
  await live(twin);
  let renewals = 0, sockets = 0;
  context.on("request", (r) => (renewals += isToken(r) ? 1 : 0));
  for (const p of [page, twin]) p.on("websocket", () => sockets++);
  await expect.poll(() => renewals, { timeout: 30_000 }).toBeGreaterThanOrEqual(2);
  for (const p of [page, twin]) {
    await expect(p.getByTestId("age")).toContainText("live");
    await expect(p.getByRole("dialog")).toHaveCount(0);
  }
  expect(await page.evaluate(() => (window as unknown as { same?: boolean }).same)).toBe(true);
  expect(sockets, "live channels that had to be made anew").toBe(0);

  await account(page).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(enter(page)).toBeVisible();
  await expect(enter(twin), "whoever signs out is signed out everywhere").toBeVisible();
});

test("whose session Keycloak has ended is asked to sign in again, and goes on where he was", async ({ page, context, served, keycloak, calm }) => {
  calm.expect(answered(400), answered(401), /WebSocket connection to/); // the refresh token is refused; on a slow machine the last token too
  await keycloak.setRealm({ accessTokenLifespan: 8 });
  await signIn(page, keycloak, served, "operator-north");
  await live(page);
  await page.keyboard.press("n");
  await page.getByLabel("Pick up at").fill("7");
  await keycloak.endSessions("operator-north");
  const dialog = page.getByRole("dialog");
  await expect(dialog).toContainText("no longer renews this sign-in", { timeout: 20_000 });
  const opened = context.waitForEvent("page");
  await dialog.getByRole("button", { name: "Sign in again" }).click();
  const beside = await opened;
  await signInAtKeycloak(beside, "operator-north", "operator-north-password");
  await beside.waitForEvent("close");
  await expect(dialog).toHaveCount(0);
  await live(page);
  await expect(page.getByLabel("Pick up at")).toHaveValue("7");
});

test("an issuer that is away is named, and asked again; the page goes on while its token lives", async ({ page, context, served, keycloak, calm }) => {
  calm.expect(/ERR_FAILED/);
  await page.goto(served.url);
  await context.route(`${keycloak.origin}/**`, (r) => r.abort());
  await enter(page).click();
  await expect(page.getByRole("alert")).toHaveText(`Signing in failed: ${new URL(keycloak.origin).host} cannot be reached.`);
  await context.unroute(`${keycloak.origin}/**`);
  await keycloak.setRealm({ accessTokenLifespan: 10 });
  await enter(page).click();
  await signInAtKeycloak(page, "operator-north", "operator-north-password");
  await live(page);
  await context.route(`${keycloak.origin}/**`, (r) => r.abort());
  const banner = page.getByTestId("banner");
  await expect(banner).toContainText("Your sign-in is not renewed");
  await expect(banner).toContainText("cannot be reached");
  await expect(page.getByTestId("age")).toContainText("live");
  await context.unroute(`${keycloak.origin}/**`);
  await banner.getByRole("button", { name: "Try again" }).click();
  await expect(banner).toHaveCount(0);
  await live(page);
});

test("who says no at Keycloak is told so; answers nobody asked for, and a code that was used, sign nobody in", async ({ page, served, keycloak, calm }) => {
  calm.expect(answered(400));
  await keycloak.setPage({ consentRequired: true });
  try {
    await signIn(page, keycloak, served, "operator-south");
    await page.locator("#kc-cancel").click();
    await expect(page.getByRole("alert")).toContainText("refused: access was denied");
  } finally {
    await keycloak.setPage({ consentRequired: false });
  }
  expect(new URL(page.url()).hash).toBe("");
  await page.goto("about:blank"); // else it is a move within the page
  await page.goto(`${served.url}/#state=of-somebody-else&code=stolen`);
  await expect(page.getByRole("alert")).toContainText("belongs to no sign-in of this window");
  await page.goto(`${served.url}/?state=of-somebody-else&error=access_denied&error_description=Call+us`);
  await expect(page.getByRole("alert")).toContainText("belongs to no sign-in of this window");
  await expect(page.getByText("Call us")).toHaveCount(0);
  expect(page.url()).toBe(`${served.url}/`);

  const asked = page.waitForRequest(isToken);
  await enter(page).click();
  await signInAtKeycloak(page, "operator-south", "operator-south-password");
  await live(page);
  const again = await fetch((await asked).url(), { method: "POST", body: new URLSearchParams((await asked).postData()!) });
  expect(again.status).toBe(400);
  expect(await again.json()).toMatchObject({ error: "invalid_grant" });
});

test("who belongs to two tenants chooses, and the choice outlives a reload", async ({ page, served, keycloak }) => {
  await signIn(page, keycloak, served, "operator-both");
  await live(page);
  const tenant = page.getByRole("combobox", { name: "Tenant" }), warehouse = page.getByRole("combobox", { name: "Warehouse" });
  await expect(tenant.getByRole("option")).toHaveText(["North Hall", "South Hall"]);
  await expect(warehouse).toHaveText("North");
  const socket = page.waitForEvent("websocket");
  await tenant.selectOption("South Hall");
  await expect(warehouse).toHaveText("South");
  await socket;
  await live(page);
  await page.reload();
  await live(page);
  await expect(warehouse).toHaveText("South");
  await expect(tenant).toHaveValue(SOUTH);
});

test("who belongs to no tenant can sign in as somebody else", async ({ page, served, keycloak, calm }) => {
  calm.expect(answered(403));
  await signIn(page, keycloak, served, "platform-admin");
  await expect(page.getByRole("alert")).toContainText("belongs to no tenant");
  await page.getByRole("button", { name: "Sign in as somebody else" }).click();
  await expect(page.getByRole("alert")).toHaveText("");
  await enter(page).click();
  await signInAtKeycloak(page, "viewer-south", "viewer-south-password");
  await live(page);
  await expect(page.getByRole("combobox", { name: "Warehouse" })).toHaveText("South");
});

test("an administrator reads who did what, and takes it away; an operator does not", async ({ page, served, keycloak }) => {
  await signIn(page, keycloak, served, "admin-north");
  await live(page);
  await page.getByRole("tab", { name: "Audit" }).click();
  await page.getByRole("searchbox", { name: "Action" }).fill("map");
  const made = rows(page, "Audit log").filter({ hasText: "map.create" });
  await expect(made).toHaveCount(1);
  await expect(made).toContainText("201");
  await made.click();
  await expect(page.getByText("POST /api/v1/maps")).toBeVisible();
  await expectAccessible(page, "the audit log");
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export CSV" }).click();
  const file = await saved;
  expect(file.suggestedFilename()).toBe("audit.csv");
  expect(await readFile(await file.path(), "utf8")).toMatch(/^audit_id,.*\n(.*\n)*.*map\.create/);
  await account(page).click();
  await page.getByRole("button", { name: "Sign out" }).click();

  await enter(page).waitFor();
  await signIn(page, keycloak, served, "operator-north", "?tab=audit");
  await live(page);
  await expect(page.getByRole("tab", { name: "Audit" })).toHaveCount(0);
  await expect(page.getByRole("tabpanel")).toHaveText("Your role may not read the audit log.");
});
