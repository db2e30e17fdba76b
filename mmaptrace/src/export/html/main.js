/** Set once the data is there; `null` where there is nothing to show. */
let timeline = null;

async function main() {
  const { dataset } = document.documentElement;
  dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const data = await load();
  at("warning").textContent = data.faults.join("; ");
  at("warning").hidden = data.faults.length === 0;
  if (data.spaces.length === 0) {
    at("state").textContent = "There are no events.";
  } else {
    timeline = new Timeline(data);
    document.title = `mmaptrace: ${data.spaces.map(({ pid, comm }) => `${pid} ${comm}`).slice(0, 3).join(", ")}`;
    at("state").hidden = true;
  }
  dataset.state = "ready";
}

main().catch((error) => {
  document.documentElement.dataset.state = "failed";
  at("state").textContent = `This page cannot be shown: ${error.message}`;
  throw error;
});
