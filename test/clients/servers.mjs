/** Where the servers of server.ts are; scripts/clients.sh starts them. */
export const { words, calls } = JSON.parse(process.env.CLIENT_SERVERS);
export const model = "fake-mamba";
export const apiKey = "none";
export const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
export const schema = {
  type: "object",
  properties: { name: { type: "string" }, size: { type: "integer" } },
  required: ["name", "size"],
  additionalProperties: false,
};
