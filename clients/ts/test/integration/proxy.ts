// A TCP proxy on a free port of this machine that can cut what runs through it.
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

export class Proxy {
  /** Connections that were cut. */
  cuts = 0;
  /** The most WebSocket upgrades, or other connections, that were open at the same time. */
  most = 0;
  url = "";
  readonly #server: Server;
  readonly #pairs = new Map<Socket, Socket>();

  constructor(target: string) {
    const { hostname, port } = new URL(target);
    this.#server = createServer((client) => {
      const server = connect(Number(port), hostname);
      this.#pairs.set(client, server);
      this.most = Math.max(this.most, this.#pairs.size);
      const end = (): void => {
        client.destroy();
        server.destroy();
        this.#pairs.delete(client);
      };
      for (const s of [client, server]) s.on("error", end).on("close", end);
      client.pipe(server);
      server.pipe(client);
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  /** Cuts everything at once, in the middle of whatever is under way. */
  cut(): void {
    for (const client of [...this.#pairs.keys()]) {
      this.cuts++;
      client.resetAndDestroy();
    }
  }

  async stop(): Promise<void> {
    this.#pairs.forEach((server, client) => (client.destroy(), server.destroy()));
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
