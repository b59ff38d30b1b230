#!/usr/local/bin/node
// A hand-written action for a custom image: TensorFlow.js, one picture at a time. It reads an
// activation per line on standard input and answers on file descriptor 3.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { default: decode, init: initDecoder } = require("@jsquash/jpeg/decode.js");
const { loadGraphModel } = require("@tensorflow/tfjs-converter");
const tf = require("@tensorflow/tfjs-core");

const read = (name) => fs.readFileSync(path.join(__dirname, name));
const { size, mean, std, labels } = JSON.parse(read("settings.json"));
const { setThreadsCount } = require("@tensorflow/tfjs-backend-wasm");
const decoder = new WebAssembly.Module(
  fs.readFileSync(require.resolve("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm")),
);
let model;

async function load() {
  setThreadsCount(1);
  await tf.setBackend("wasm");
  await initDecoder(decoder);
  const { modelTopology, weightsManifest } = JSON.parse(read("model.json"));
  const weightData = new Uint8Array(read("weights.bin")).buffer;
  const weightSpecs = weightsManifest[0].weights;
  model = await loadGraphModel(tf.io.fromMemory({ modelTopology, weightSpecs, weightData }));
  scores({ data: new Uint8Array(4), width: 1, height: 1 }); // what is made at first is made now
}

async function pixels(base64) {
  const { data, width, height } = await decode(Buffer.from(base64, "base64"));
  return { data: new Uint8Array(data.buffer), width, height };
}

function scores(picture) {
  return tf.tidy(() => {
    const resized = tf.image.resizeBilinear(tf.browser.fromPixels(picture), size, false, true);
    const normalized = tf.div(tf.sub(resized, mean), std);
    return model.predict(tf.expandDims(normalized)).dataSync();
  });
}

async function main({ image }) {
  const found = Array.from(scores(await pixels(image)), (probability, classIndex) => ({
    className: labels[classIndex],
    probability,
    classIndex,
  }));
  return { results: found.sort((a, b) => b.probability - a.probability).slice(0, 3) };
}

(async () => {
  await load();
  const answer = (value) => fs.writeSync(3, JSON.stringify(value) + "\n");
  if (process.env.__OW_WAIT_FOR_ACK) answer({ ok: true });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      answer(await main(JSON.parse(line).value));
    } catch (error) {
      answer({ error: error.message });
    }
  }
})();
