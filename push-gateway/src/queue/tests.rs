mod lanes;
mod storage;
