export * from "./conv1d";
export * from "./embedding";
export * from "./linear";
export * from "./mask";
export * from "./norm";
export * from "./penalties";
export * from "./sampling";
export * from "./ssd";
