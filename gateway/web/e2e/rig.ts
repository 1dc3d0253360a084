// What the browser tests share: the server, a page that is signed in, and the demands on every page whatever it is tested for.
import { expect, test as base, type BrowserContext, type Locator, type Page } from "@playwright/test";
import { Starling } from "./server.js";
import { Floor } from "./floor.js";

export { expect };

/** Robots of the shared server. They do nothing that a test has not asked for. */
export const ROBOTS = 40;

/** What no page may do: ask another host for something, or complain. */
export class Calm {
  readonly #complaints: string[] = [];
  readonly #origins = new Set<string>();
  #expected: RegExp[] = [];

  /** Complaints that belong to what the test is about. */
  expect(...complaints: RegExp[]): void {
    this.#expected.push(...complaints);
  }

  /** `others`: origins beside the server's that the page may talk to. */
  follow(context: BrowserContext, server: { url: string }, ...others: string[]): void {
    const { host } = new URL(server.url);
    this.#origins.add(`http://${host}`).add(`ws://${host}`);
    others.forEach((o) => this.#origins.add(o));
    context.on("request", (r) => this.#asked(r.url()));
    context.on("console", (m) => {
      if (m.type() === "error" || m.type() === "warning") this.#complaints.push(`${m.text()} (${m.location().url})`);
    });
    context.on("weberror", (e) => this.#complaints.push(e.error().stack ?? e.error().message));
    const socket = (p: Page): void => void p.on("websocket", (ws) => this.#asked(ws.url()));
    context.pages().forEach(socket);
    context.on("page", socket);
  }

  check(): void {
    expect(this.#complaints.filter((c) => !this.#expected.some((e) => e.test(c))), "what the browser complained about").toEqual([]);
  }

  #asked(url: string): void {
    if (/^(data|blob):/.test(url)) return;
    const { protocol, host } = new URL(url);
    if (!this.#origins.has(`${protocol}//${host}`)) this.#complaints.push(`something was asked of another host: ${url}`);
  }
}

/** The browser tells each answer that is no success, and software rendering tells when it is read back. */
export const answered = (status: number): RegExp => new RegExp(`status of ${status}`);
/** A server that is away, or dies in the middle of an answer. */
export const away = [/ERR_(CONNECTION_(REFUSED|RESET|CLOSED|ABORTED)|SOCKET_NOT_CONNECTED|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|CONTENT_LENGTH_MISMATCH)/, /WebSocket connection to/, answered(503)];

export interface Visit {
  /** The query of the link. */
  query?: string;
  /** Else the administrator's. */
  token?: string;
}

interface Fixtures {
  calm: Calm;
  /** Opens the page of the shared server, signed in, and waits until it is live. */
  visit: (v?: Visit) => Promise<void>;
  floor: Floor;
}

export const test = base.extend<Fixtures, { server: Starling }>({
  server: [
    async ({}, use) => {
      const server = await Starling.start();
      try {
        await server.simulate(ROBOTS);
        await use(server);
      } finally {
        await server.stop();
      }
    },
    { scope: "worker", timeout: 180_000 },
  ],
  calm: [
    async ({}, use) => {
      const calm = new Calm();
      calm.expect(/GPU stall due to ReadPixels/); // a picture was taken
      await use(calm);
      calm.check();
    },
    { auto: true },
  ],
  visit: async ({ page, context, server, calm }, use) => {
    calm.follow(context, server);
    await use((v = {}) => visit(page, server, v));
  },
  floor: async ({ page }, use) => use(new Floor(page)),
});

/** Opens a server's page, signed in, and waits until it is live. */
export async function visit(page: Page, server: Starling, v: Visit = {}): Promise<void> {
  await page.goto(`${server.url}/?${v.query ?? ""}#token=${v.token ?? server.ready.token}`);
  await live(page);
}

/** Waits until what is seen is up to date. */
export async function live(page: Page): Promise<void> {
  await expect(page.getByTestId("age")).toContainText("live", { timeout: 30_000 });
  await expect(page.getByRole("region", { name: "Tables" })).toBeVisible();
}

/** The panel of what is selected. */
export const side = (page: Page) => page.getByRole("complementary", { name: "Details" });

/** A table under the map, and its rows. */
export const table = (page: Page, name: string) => page.getByRole("table", { name });
export const rows = (page: Page, name: string) => table(page, name).locator(".rows [role=row][aria-rowindex]");

/** Presses a button for what cannot be taken back, which asks first. */
export async function sure(button: Locator): Promise<void> {
  await expect(async () => {
    await button.click();
    await button.filter({ hasText: "Sure?" }).click({ timeout: 2_000 });
  }).toPass();
}

/** Presses a remedy, which says first what it sends. */
export async function press(within: Locator, label: string): Promise<void> {
  await within.getByRole("button", { name: label }).click();
  await within.getByRole("group", { name: `${label}?` }).getByRole("button", { name: "Do it" }).click();
}

/** What needs somebody. */
export const attention = (page: Page) => page.getByRole("region", { name: /Needs you/ });
