// What the tests of signing in run on: a real Keycloak with the realm of deploy/stack, and the program as in production, with it as
// its issuer and a real PostgreSQL.
import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, type Page } from "@playwright/test";
import { Api } from "starling-client";
import { test as base } from "./rig.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const run = promisify(execFile);

/** The tenants of the realm's users. */
export const NORTH = "11111111-1111-4111-8111-111111111111";
export const SOUTH = "22222222-2222-4222-8222-222222222222";

interface Described {
  issuer: string;
  url: string;
  pid: number;
  cli_client: string;
  page_client: string;
  admin_user: string;
  admin_password: string;
  users: { name: string; password: string; full_name: string }[];
}

type Rows = Record<string, unknown>[];

/** A Keycloak of our own. */
export class Keycloak {
  readonly #process: ChildProcess;
  readonly is: Described;

  private constructor(process: ChildProcess, is: Described) {
    this.#process = process;
    this.is = is;
  }

  static async start(): Promise<Keycloak> {
    // It ends when its standard input does, which is also when this process is gone, whatever ended it.
    const child = spawn("go", ["run", "./deploy/stack/cmd/keycloak", "run"], { cwd: root, stdio: ["pipe", "pipe", "pipe"] });
    let said = "";
    child.stderr.on("data", (b: Buffer) => void (said = (said + b.toString()).slice(-10_000)));
    const line = await firstLine(child, () => true).catch(() => {
      throw new Error(`Keycloak did not start:\n${said}`);
    });
    return new Keycloak(child, JSON.parse(line) as Described);
  }

  get origin(): string {
    return new URL(this.is.url).origin;
  }

  async stop(): Promise<void> {
    const end = once(this.#process, "exit");
    this.#process.stdin!.end();
    await end;
  }

  user(name: string): { name: string; password: string; full_name: string } {
    return this.is.users.find((u) => u.name === name)!;
  }

  /** A token by a user's password. */
  async token(name: string): Promise<string> {
    const { password } = this.user(name);
    return this.#grant("starling", { grant_type: "password", client_id: this.is.cli_client, username: name, password });
  }

  /** Changes settings of the realm. */
  async setRealm(settings: Record<string, unknown>): Promise<void> {
    await this.#admin("PUT", "", settings);
  }

  /** Changes settings of the page's client. */
  async setPage(settings: Record<string, unknown>): Promise<void> {
    const [client] = await this.#admin("GET", `/clients?clientId=${this.is.page_client}`);
    await this.#admin("PUT", `/clients/${client!["id"] as string}`, { ...client, ...settings });
  }

  /** Ends all sessions of a user, as an administrator does with somebody who has left. */
  async endSessions(name: string): Promise<void> {
    await this.#admin("POST", `/users/${await this.#id(name)}/logout`);
  }

  async sessions(name: string): Promise<number> {
    return (await this.#admin("GET", `/users/${await this.#id(name)}/sessions`)).length;
  }

  async #id(name: string): Promise<string> {
    return (await this.#admin("GET", `/users?exact=true&username=${name}`))[0]!["id"] as string;
  }

  async #grant(realm: string, fields: Record<string, string>): Promise<string> {
    const answer = await fetch(`${this.is.url}/realms/${realm}/protocol/openid-connect/token`, { method: "POST", body: new URLSearchParams(fields) });
    if (!answer.ok) throw new Error(`no token: ${answer.status} ${await answer.text()}`);
    return ((await answer.json()) as { access_token: string }).access_token;
  }

  async #admin(method: string, path: string, body?: unknown): Promise<Rows> {
    const token = await this.#grant("master", { grant_type: "password", client_id: "admin-cli", username: this.is.admin_user, password: this.is.admin_password });
    const answer = await fetch(`${this.is.url}/admin/realms/starling${path}`, {
      method, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === "" ? [] : (JSON.parse(text) as Rows);
  }
}

/** The program as in production. */
export class Served {
  readonly url: string;
  readonly #link: string;
  readonly #program: string;
  readonly #folder: string;
  readonly #children: ChildProcess[];

  private constructor(o: { url: string; link: string; program: string; folder: string; child: ChildProcess }) {
    this.url = o.url;
    this.#link = o.link;
    this.#program = o.program;
    this.#folder = o.folder;
    this.#children = [o.child];
  }

  static async start(keycloak: Promise<Keycloak>): Promise<Served> {
    const program = process.env["STARLING"] ?? join(root, "bin/starling");
    if (!existsSync(program)) throw new Error(`${program} is not there: make build, or set STARLING`);
    const folder = await mkdtemp(join(tmpdir(), "starling-served-"));
    const database = join(folder, "postgres");
    process.on("exit", () => existsSync(folder) && spawnSync("go", ["run", "./deploy/stack/cmd/postgres", "remove", database], { cwd: root }));
    const { stdout } = await run("go", ["run", "./deploy/stack/cmd/postgres", "start", "--fast", database], { cwd: root });
    const url = stdout.trim().split("\n").at(-1)!;
    await run(program, ["migrate", "up"], { cwd: folder, env: { ...process.env, DATABASE_URL: url } });
    const tenants = `INSERT INTO tenants (tenant_id, slug, name) VALUES ('${NORTH}', 'north', 'North Hall'), ('${SOUTH}', 'south', 'South Hall')`;
    await run("psql", ["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--command", tenants, url]);
    const { is } = await keycloak;
    const link = await freePort();
    const child = spawn(program, ["serve", "--roles", "gateway,engine"], {
      cwd: folder, stdio: ["ignore", "pipe", "inherit"],
      env: {
        ...process.env, ENV: "prod", HTTP_HOST: "127.0.0.1", HTTP_PORT: "0", LINK_HOST: "127.0.0.1", LINK_PORT: `${link}`, DATABASE_URL: url,
        OIDC_ISSUER: is.issuer, OIDC_AUDIENCE: "starling", JWT_CLOCK_SKEW_SECONDS: "0",
      },
    });
    process.on("exit", () => child.kill("SIGTERM"));
    const line = await firstLine(child, (l) => l.includes("process.started"));
    const { port } = JSON.parse(line) as { port: number };
    return new Served({ url: `http://127.0.0.1:${port}`, link: `127.0.0.1:${link}`, program, folder, child });
  }

  async stop(): Promise<void> {
    for (const child of this.#children.reverse()) {
      if (child.exitCode !== null) continue;
      const end = once(child, "exit");
      child.kill("SIGTERM");
      await end;
    }
    await run("go", ["run", "./deploy/stack/cmd/postgres", "remove", join(this.#folder, "postgres")], { cwd: root });
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Gives a tenant a warehouse with a small floor and a virtual robot. */
  async furnish(token: string, name: string): Promise<void> {
    const api = new Api({ url: this.url, token: () => token });
    const { warehouse_id } = await api.create("/api/v1/warehouses", { body: { warehouse_code: name.toLowerCase(), name, timezone: "Europe/Berlin" } });
    const content = ["type octile", "height 3", "width 5", "map", ".....", ".@.@.", "....."].join("\n");
    const map = await api.create("/api/v1/maps", { body: { warehouse_id, name: "floor", format: "movingai", content, resolution_m: 1 } });
    await api.post("/api/v1/maps/{map_id}/versions/{n}/activate", { path: { map_id: map.map_id, n: 1 } });
    const robots = ["--warehouse", warehouse_id, "--robots", "1", "--status-every", "1s"];
    const child = spawn(this.#program, ["sim", "--url", this.url, "--link", this.#link, "--token", token, ...robots], { cwd: this.#folder, stdio: "ignore" });
    process.on("exit", () => child.kill("SIGTERM"));
    this.#children.push(child);
    await expect.poll(async () => (await api.get("/api/v1/overview", { query: { warehouse_id } })).robots.connection["ONLINE"], { timeout: 30_000 }).toBe(1);
  }
}

/** Waits for a line that a process writes, and lets the rest of what it writes pass. */
async function firstLine(child: ChildProcess, wanted: (line: string) => boolean): Promise<string> {
  const lines = createInterface({ input: child.stdout! });
  return new Promise((resolve, reject) => {
    lines.on("line", (line) => wanted(line) && resolve(line));
    lines.on("close", () => reject(new Error("it ended")));
  });
}

/** A port that nobody listens on: the program does not say which one it took for the link. */
async function freePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  listener.close();
  return port;
}

export const test = base.extend<object, { stack: { keycloak: Keycloak; served: Served }; keycloak: Keycloak; served: Served }>({
  keycloak: [
    async ({ stack }, use) => use(stack.keycloak),
    { scope: "worker" },
  ],
  served: [async ({ stack }, use) => use(stack.served), { scope: "worker" }],
  // Both start at the same time.
  stack: [
    async ({}, use) => {
      const starting = Keycloak.start();
      const [keycloak, served] = await Promise.all([starting, Served.start(starting)]);
      try {
        await Promise.all([["admin-north", "North"], ["admin-south", "South"]].map(async ([who = "", name = ""]) => served.furnish(await keycloak.token(who), name)));
        await use({ keycloak, served });
      } finally {
        await Promise.all([keycloak.stop(), served.stop()]);
      }
    },
    { scope: "worker", timeout: 180_000 },
  ],
});

/** Keycloak's own form. */
export async function signInAtKeycloak(page: Page, name: string, password: string): Promise<void> {
  await page.locator("#username").fill(name);
  await page.locator("#password").fill(password);
  await page.locator("#kc-login").click();
}

/** Goes from the page to Keycloak and back, signed in. */
export async function signIn(page: Page, keycloak: Keycloak, served: Served, name: string, query = ""): Promise<void> {
  // A sign-out of before may still be on its way to Keycloak and back, which breaks off what comes between.
  await expect(() => page.goto(`${served.url}/${query}`)).toPass();
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await expect(page.locator("#kc-login")).toBeVisible();
  await signInAtKeycloak(page, name, keycloak.user(name).password);
}
