import { row } from "./table.ts";

/** Offers the API to an MCP client over stdin and stdout, until the client closes stdin. */
export const mcpCommand = row({
  examples: [
    "symphony mcp",
    "symphony mcp --write --data-dir ~/project/.symphony",
    "claude mcp add symphony -- symphony mcp --data-dir ~/project/.symphony",
  ],
  options: [
    {
      name: "write",
      summary: "also offer the routes that change something, such as steer and abort",
    },
  ],
  async stream({ write }, context) {
    // Its packages take longer to load than all others together.
    const { serveMcp } = await import("./mcp-server.ts");
    return serveMcp({ write }, context);
  },
});
