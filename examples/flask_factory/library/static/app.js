// The page works without this file; it adds a reload when something has ended, and recording in the browser.

document.addEventListener("cherga-end", ({ detail }) => {
  if (detail.state === "succeeded") location.reload();
});

// Records what is said as a WAV file of one channel, which is what the worker understands, and sends it with the form.
for (const form of document.querySelectorAll("[data-recorder]")) {
  const button = form.querySelector("[data-record]");
  const field = form.querySelector("[type=file]");
  let stop;

  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) break;

  button.hidden = false;
  button.addEventListener("click", async () => {
    if (stop) {
      stop();
      return;
    }

    try {
      stop = await record((file) => {
        const files = new DataTransfer();
        files.items.add(file);
        field.files = files.files;
        form.requestSubmit();
      });
      button.textContent = "Stop and ask";
    } catch {
      button.textContent = "No microphone";
    }
  });
}

async function record(done) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext();
  const pieces = [];
  await context.audioWorklet.addModule("/static/recorder.js");
  const recorder = new AudioWorkletNode(context, "recorder");
  recorder.port.onmessage = ({ data }) => pieces.push(data);
  context.createMediaStreamSource(stream).connect(recorder);

  return () => {
    stream.getTracks().forEach((track) => track.stop());
    context.close();
    done(new File([wave(pieces, context.sampleRate)], "question.wav", { type: "audio/wav" }));
  };
}

// The bytes of a WAV file: a header of 44 bytes, then samples of 16 bits.
function wave(pieces, rate) {
  const count = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, word) => [...word].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));

  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * count, true);

  let at = 44;
  for (const piece of pieces) {
    for (const sample of piece) {
      view.setInt16(at, Math.max(-1, Math.min(1, sample)) * 32767, true);
      at += 2;
    }
  }

  return view.buffer;
}
