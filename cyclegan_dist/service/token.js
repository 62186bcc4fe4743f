// The token of a service that needs one, with functions of page.js. The browser keeps it for this tab only.
const TOKEN = "token", unlock = byId("unlock");
let token = ""; // where the browser keeps nothing

function storedToken() {
  try {
    return sessionStorage.getItem(TOKEN) ?? "";
  } catch { // storage is switched off
    return token;
  }
}

function storeToken(text) {
  token = text;
  try {
    if (text) sessionStorage.setItem(TOKEN, text);
    else sessionStorage.removeItem(TOKEN);
  } catch { /* the variable has it */ }
}

/** Headers of requests that need a token. */
function authorization() {
  const text = unlock && storedToken();
  return text ? { Authorization: `Bearer ${text}` } : {};
}

/** Ask for a token, with the reason why there is to be another one; what was chosen is translated afterwards. */
function askForToken(reason = "") {
  main.classList.add("locked");
  unlock.hidden = false;
  byId("forget").hidden = true;
  byId("refused").textContent = reason;
  byId("token").value = "";
  byId("token").focus();
}

async function useToken() {
  const text = byId("token").value.trim(), button = document.querySelector("#unlock button");
  if (!/^[\x21-\x7e]+$/.test(text)) return askForToken("This is no token: paste it whole, without spaces.");
  button.disabled = true;
  try {
    const answer = await fetch("card", { headers: { Authorization: `Bearer ${text}` } });
    if (answer.status === 401) return askForToken(sentence((await answer.json()).error));
  } catch {
    byId("refused").textContent = "The service does not answer: it may have been stopped.";
    return;
  } finally {
    button.disabled = false;
  }
  storeToken(text); // also where the answer was another error: the token is known
  showUnlocked();
  byId("file").focus();
  if (files.length) translateAll();
}

function showUnlocked() {
  main.classList.remove("locked");
  unlock.hidden = true;
  byId("forget").hidden = false;
  report("");
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

if (unlock) {
  unlock.addEventListener("submit", useToken);
  byId("forget").addEventListener("click", () => {
    running?.abort();
    byId("clear").click(); // whoever sits down here next sees no pictures
    storeToken("");
    askForToken();
  });
  if (storedToken()) showUnlocked();
  else askForToken();
}
