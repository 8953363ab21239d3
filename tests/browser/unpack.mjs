// Unpacks the browser into the folder for temporary files, with the libraries that a bare machine may lack, and prints
// where it is.
import chromium, { inflate } from "@sparticuz/chromium";
import { fileURLToPath } from "node:url";

await inflate(fileURLToPath(new URL("../bin/al2023.tar.br", import.meta.resolve("@sparticuz/chromium"))));
console.log(await chromium.executablePath());
