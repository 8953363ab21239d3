// Runs the functions of one module on request: a line of JSON {id, call, args} comes in, {id, value} or {id, error}
// goes out. Calls run at the same time; console output goes to stderr.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

console.log = console.info = console.debug = console.warn = console.error;
const functions = await import(pathToFileURL(process.argv[2]));

function answer(id, rest) {
  process.stdout.write(JSON.stringify({ id, ...rest }) + "\n");
}

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, call, args } = JSON.parse(line);
  try {
    answer(id, { value: (await functions[call](...args)) ?? null });
  } catch (error) {
    answer(id, { error: String(error?.stack ?? error) });
  }
}).on("close", () => process.exit(0));
