//! `landfall config`: settings, and where each comes from.

use serde_json::{Map, Value, json};

use crate::{
    arguments::ConfigCommand, command::Command, destination, exit::Exit, failed::Failed, home::KEYS, human,
    output::fields,
};

/// Carries out `landfall config`.
pub(crate) async fn config(mut command: Command, what: ConfigCommand) -> Result<Exit, Failed> {
    match what {
        ConfigCommand::Show { origin } => {
            let mut document = Map::new();
            for (key, _, meaning) in KEYS {
                let (value, from) = value(&command, key);
                let from = if origin { format!("  # {from}") } else { String::new() };
                command.out.line(&format!("{key} = {value}{from}"));
                document.insert(
                    key.to_owned(),
                    json!({ "value": value, "meaning": meaning, "origin": self::value(&command, key).1 }),
                );
            }
            command.out.document(fields(json!({
                "home": command.home.folder.display().to_string(),
                "settings": Value::Object(document),
            })));
        }
        ConfigCommand::Get { key } => {
            check(&key, None)?;
            let (value, origin) = value(&command, &key);
            command.out.line(&value);
            command.out.document(fields(json!({ "key": key, "value": value, "origin": origin })));
        }
        ConfigCommand::Set { key, value } => {
            check(&key, Some(&value))?;
            let value = if key == "to" { place(&value)? } else { value };
            let lock = command.lock_home().await?;
            command.home.configure(&command.env, &lock, &key, &value)?;
            drop(lock);
            command.out.document(fields(json!({ "key": key, "value": value })));
            command.out.note(&format!("wrote `{}`", command.home.config_path().display()));
        }
        ConfigCommand::Unset { key } => {
            let was_set = command.home.folder.exists() && {
                let lock = command.lock_home().await?;
                command.home.unconfigure(&command.env, &lock, &key)?
            };
            if !was_set {
                // One that is no setting can be taken out, but not be missed.
                check(&key, None)?;
            }
            command.out.document(fields(json!({ "key": key, "was_set": was_set })));
            let path = command.home.config_path();
            let done = if was_set { "took it out of" } else { "it is not in" };
            command.out.note(&format!("{done} `{}`", path.display()));
            if let Some(still) = command.home.configured(&key) {
                command.out.warn(&format!("{} still sets `{key}`", still.origin), None);
            }
        }
    }
    Ok(Exit::Done)
}

/// Everything that is wrong with the settings.
pub(super) fn complaints(command: &Command) -> Vec<Failed> {
    let mut complaints: Vec<Failed> = command.home.usable().err().into_iter().collect();
    for (key, variable, _) in KEYS {
        let Some(configured) = command.home.configured(key) else { continue };
        let mut wrong = check(key, Some(&configured.value)).err().map(|failed| failed.why);
        if key == "to" && wrong.is_none() {
            wrong = wrong_place(command, &configured.value);
        }
        if let Some(why) = wrong {
            let what = format!("cannot use `{key}` of {}", configured.origin);
            let remedy = if configured.origin == variable {
                format!("change or unset {variable}")
            } else {
                format!("`landfall config set {key} VALUE`, or `landfall config unset {key}`")
            };
            complaints.push(Failed::new("bad-config", what, why).hint(remedy));
        }
    }
    complaints
}

/// Why a configured destination is none, or not the same from everywhere.
fn wrong_place(command: &Command, value: &str) -> Option<String> {
    let path = std::path::Path::new(value);
    if !value.contains("://") && path.is_relative() {
        return Some(format!("`{value}` is a relative path, another folder wherever landfall is started"));
    }
    destination::Place::parse(Some(path), &command.home.default_vault).err().map(|failed| failed.why)
}

fn value(command: &Command, key: &str) -> (String, String) {
    if let Some(configured) = command.home.configured(key) {
        return (configured.value, configured.origin);
    }
    let value = match key {
        "to" => command.home.default_vault.display().to_string(),
        "transfers" => command.settings().limits.total.to_string(),
        "videos" => command.settings().limits.video.to_string(),
        "patience" => "60s".to_owned(),
        _ => command.home.device(),
    };
    (value, "default".to_owned())
}

fn check(key: &str, value: Option<&str>) -> Result<(), Failed> {
    if !KEYS.iter().any(|(name, _, _)| *name == key) {
        let names: Vec<&str> = KEYS.iter().map(|(name, _, _)| *name).collect();
        return Err(
            Failed::usage(format!("there is no setting `{key}`"), "").hint(format!("one of: {}", names.join(", ")))
        );
    }
    let wrong = match (key, value) {
        ("transfers" | "videos", Some(value)) => value
            .parse::<u16>()
            .ok()
            .filter(|number| (1..=64).contains(number))
            .is_none()
            .then(|| "1 to 64 is possible".to_owned()),
        ("patience", Some(value)) => human::parse_duration(value).err(),
        _ => None,
    };
    wrong.map_or(Ok(()), |why| Err(Failed::usage(format!("cannot set `{key}`"), why)))
}

/// A destination as it can be used from any folder.
fn place(value: &str) -> Result<String, Failed> {
    if value.is_empty() {
        return Err(Failed::usage("cannot set `to`", "it is empty").hint("name a folder or the address of a server"));
    }
    if value.contains("://") {
        return match landfall::Origin::parse(value) {
            Ok(_) => Ok(value.to_owned()),
            Err(error) => Err(Failed::usage("cannot set `to`", error.to_string())
                .hint("give a folder, or an address like `https://host:8642`")),
        };
    }
    let path = match (value.strip_prefix("~/"), std::env::home_dir()) {
        (Some(below), Some(home)) => home.join(below),
        _ => value.into(),
    };
    let real = destination::real_path(&path).map_err(|error| Failed::usage("cannot set `to`", error.to_string()))?;
    real.into_os_string().into_string().map_err(|_| Failed::usage("cannot set `to`", "its path is not UTF-8"))
}
