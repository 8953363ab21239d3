// For the test of the harness itself.
export const NAMES = ["ai6", "ai7", "@ag-ui/client", "@langchain/langgraph-sdk", "openai"];

export async function importable() {
  const found = [];
  for (const name of NAMES) if (Object.keys(await import(name)).length) found.push(name);
  return found;
}

export const echo = (value) => value;

export function broken() {
  console.log("not an answer");
  throw new Error("on purpose");
}

export const end = () => process.exit(3);
