// A TypeScript client's view of a server, printed as JSON. Arguments: which SDK, URL, token, era, calls as JSON.
const [sdk, url, token, era, calls] = process.argv.slice(2);
const requestInit = { headers: { Authorization: `Bearer ${token}` } };

async function opened() {
  const info = { name: "stoa-tests", version: "1" };
  if (sdk === "v1") {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const client = new Client(info);
    await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
    return client;
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const mode = era === "modern" ? { pin: "2026-07-28" } : era;
  const client = new Client(info, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return client;
}

const client = await opened();
const seen = {
  server: client.getServerVersion(),
  capabilities: client.getServerCapabilities(),
  instructions: client.getInstructions(),
  tools: (await client.listTools()).tools.map((tool) => tool.name),
  calls: [],
};
for (const call of JSON.parse(calls)) {
  try {
    seen.calls.push({ result: await client.callTool(call) });
  } catch (error) {
    seen.calls.push({ code: error.code, message: error.message });
  }
}
if (seen.capabilities.tools.listChanged && client.listen) {
  const subscription = await client.listen({ toolsListChanged: true });
  seen.honored = subscription.honoredFilter;
  await subscription.close();
}
await client.close();
console.log(JSON.stringify(seen));
process.exit(0);
