// Orders reports without leaving the page. What moves the bars is the script of <cherga-progress>.
const order = document.querySelector("#order");
const reports = document.querySelector("#reports");
const trouble = document.querySelector("#trouble");

order?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { year, column } = Object.fromEntries(new FormData(order));
  const answer = await fetch(order.action, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ year: Number(year), column }),
  }).catch(() => null);

  trouble.hidden = !!answer?.ok;
  if (!answer?.ok) return trouble.replaceChildren("The report cannot be ordered just now. Please try again later.");
  show(await answer.json());
});

function show(made) {
  const known = reports.querySelector(`cherga-progress[job="${made.id}"]`);
  if (known) return known.closest("li").animate({ opacity: [0.3, 1] }, 400);

  const item = document.createElement("li");
  // The server's own HTML, parsed without running anything.
  const element = new DOMParser().parseFromString(made.element, "text/html").body.firstElementChild;
  const open = Object.assign(document.createElement("a"), { className: "open", textContent: "Open", hidden: true });
  open.href = `/reports/${made.id}`;
  item.append(document.adoptNode(element), " ", open);
  reports.prepend(item);
  document.querySelector("#none").hidden = true;
}

reports?.addEventListener("cherga-end", (event) => {
  if (event.detail.state === "succeeded") event.target.closest("li").querySelector(".open").hidden = false;
});
