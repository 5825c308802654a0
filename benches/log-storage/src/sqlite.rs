//! SQLite: a table by offset, an index by user, WAL, a synchronised commit.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, params};
use tidings_broker::log::{Key, Message};
use tidings_shared::identity::UserId;

use crate::grouped::Grouped;
use crate::{Done, Store};

struct Sqlite {
    writer: Grouped,
    reader: Mutex<Connection>,
}

fn connect(folder: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open(folder.join("log.sqlite"))?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536")?;
    Ok(connection)
}

pub fn open(folder: &Path) -> anyhow::Result<Box<dyn Store>> {
    let mut connection = connect(folder)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS messages (place INTEGER PRIMARY KEY, user TEXT, body BLOB NOT NULL);
         CREATE INDEX IF NOT EXISTS by_user ON messages (user, place)",
    )?;
    let writer = Grouped::new(move |messages| {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO messages (user, body) VALUES (?1, ?2)")?;
            for message in messages {
                let user = if let Key::User(user) = &message.key { Some(user.as_str()) } else { None };
                insert.execute(params![user, postcard::to_stdvec(&**message)?])?;
            }
        }
        Ok(transaction.commit()?)
    });
    Ok(Box::new(Sqlite { writer, reader: Mutex::new(connect(folder)?) }))
}

impl Store for Sqlite {
    fn append(&self, message: Arc<Message>, done: Done) {
        self.writer.append(message, done);
    }

    fn last(&self, user: &UserId, limit: usize) -> anyhow::Result<Vec<Message>> {
        let reader = self.reader.lock().map_err(|_| anyhow::anyhow!("a reader panicked"))?;
        let mut query =
            reader.prepare_cached("SELECT body FROM messages WHERE user = ?1 ORDER BY place DESC LIMIT ?2")?;
        let rows = query.query_map(params![user.as_str(), limit as i64], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|body| Ok(postcard::from_bytes(&body?)?)).collect()
    }
}
