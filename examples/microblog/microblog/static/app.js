// The page works without this file; it adds what should happen without a reload.

// The export button comes back when the export has ended. <cherga-progress> tells when.
document.addEventListener("cherga-end", () => {
  if (document.querySelector('cherga-progress:not([state="succeeded"], [state="failed"], [state="cancelled"])')) return;

  for (const element of document.querySelectorAll("[data-hidden-while-exporting]")) {
    element.hidden = false;
  }
});

// How many characters are left of a text.
for (const counter of document.querySelectorAll("[data-count-for]")) {
  const field = document.getElementById(counter.dataset.countFor);
  const show = () => { counter.textContent = `${field.value.length} / ${field.maxLength}`; };

  field.addEventListener("input", show);
  show();
}
