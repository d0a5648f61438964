// The page works without this file; it adds what should happen without a reload.

// <cherga-progress> fills in the numbers and tells when something has changed: show the words that fit.
document.addEventListener("cherga-update", ({ target, detail }) => {
  const phase = detail.final ? detail.state : "working";

  for (const part of target.querySelectorAll("[data-while]")) {
    part.hidden = part.dataset.while !== phase;
  }
});

// The export button comes back when the export has ended.
document.addEventListener("cherga-end", () => {
  for (const part of document.querySelectorAll("[data-hidden-while-exporting]")) {
    part.hidden = false;
  }
});

// How many characters are left of a text.
for (const counter of document.querySelectorAll("[data-count-for]")) {
  const field = document.getElementById(counter.dataset.countFor);
  const show = () => { counter.textContent = `${field.value.length} / ${field.maxLength}`; };

  field.addEventListener("input", show);
  show();
}
