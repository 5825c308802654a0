mod lanes;
mod limits;
mod once;
mod order;
mod several;
mod storage;
mod upkeep;
