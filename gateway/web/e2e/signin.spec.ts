import { answered, expect, live, test } from "./rig.js";

test("somebody signs in with a token and out again", async ({ page, context, server, calm }) => {
  calm.follow(context, server);
  calm.expect(answered(401));
  await page.goto(server.url);
  const token = page.getByLabel("Access token");
  const enter = page.getByRole("button", { name: "Sign in" });
  await token.fill("a.b.c");
  await enter.click();
  await expect(page.getByRole("alert")).toHaveText("The server does not take this token: it is wrong or has expired.");
  await token.fill("two words");
  await enter.click();
  await expect(page.getByRole("alert")).toContainText("does not take this token");

  await token.fill(`  ${server.ready.token}\n`);
  await enter.click();
  await live(page);
  await page.reload();
  await live(page);

  await page.getByLabel(/^Signed in as/).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(token).toBeVisible();
  await page.reload();
  await expect(token).toBeVisible();
});

test("a link brings its token, which is in no address afterwards", async ({ page, context, server, calm }) => {
  calm.follow(context, server);
  const asked: string[] = [];
  page.on("request", (r) => asked.push(r.url()));
  await page.goto(`${server.url}/?tab=robots#token=${server.ready.token}`);
  await live(page);
  expect(new URL(page.url()).hash).toBe("");
  expect(asked.filter((url) => url.includes(server.ready.token))).toEqual([]);
  await expect(page.getByRole("tab", { name: /Robots/ })).toHaveAttribute("aria-selected", "true");
});

test("a link with a wrong token says so and lets one sign in", async ({ page, context, server, calm }) => {
  calm.follow(context, server);
  calm.expect(answered(401));
  await page.goto(`${server.url}/#token=wrong`);
  await expect(page.getByRole("alert")).toContainText("Signing in failed");
  await page.getByLabel("Access token").fill(server.ready.token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await live(page);
});

test("a development server lets one in as a role, which may do what it may", async ({ page, context, server, calm }) => {
  calm.follow(context, server);
  await page.goto(server.url);
  await page.getByRole("button", { name: "viewer" }).click();
  await live(page);
  await expect(page.getByRole("button", { name: "New task" })).toHaveCount(0);
  await page.keyboard.press("n");
  await expect(page.getByRole("form", { name: "New task" })).toHaveCount(0);

  await page.getByLabel(/^Signed in as/).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "operator" }).click();
  await live(page);
  await page.keyboard.press("n");
  await expect(page.getByRole("form", { name: "New task" })).toBeVisible();
});
